"""The projection to log-probabilities equals whole logits in float64, in value and gradient, whatever the tile."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from twinkle.core.errors import InvalidArgument
from twinkle.kernels.linear_logprob import TokenDistribution, linear_logprob, linear_logprob_ref


def problem(n: int, h: int, v: int, dtype: torch.dtype, *, size: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden, weight, labels and bias; logits are of standard deviation ``size``; the last and the first entry are labels."""
    generator = torch.Generator().manual_seed(n + h + v)
    hidden = size * torch.randn(n, h, generator=generator, dtype=torch.float64)
    weight = torch.randn(v, h, generator=generator, dtype=torch.float64) / h**0.5
    labels = torch.randint(0, v, (n,), generator=generator)
    labels[:1], labels[1:2] = v - 1, 0
    bias = torch.randn(v, generator=generator, dtype=torch.float64)
    return hidden.to(dtype), weight.to(dtype), labels, bias.to(dtype)


def gradients(out: TokenDistribution, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    """Of a sum in which each log-probability and each entropy has a weight of its own."""
    assert out.entropies_N is not None
    n = out.logps_N.shape[0]
    weights = torch.linspace(-1, 2, n, dtype=out.logps_N.dtype), torch.linspace(3, -2, n, dtype=out.logps_N.dtype)
    return torch.autograd.grad((out.logps_N * weights[0]).sum() + (out.entropies_N * weights[1]).sum(), leaves)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(
    ("trained", "with_bias"), [("h", False), ("h", True), ("hw", False), ("hwb", True), ("w", False), ("b", True), ("hb", True)]
)
@pytest.mark.parametrize(
    ("n", "h", "v", "chunk", "vocab_chunk"),
    [
        (1, 3, 5, None, None),
        (2, 4, 131, None, None),
        (13, 7, 31, 4, 8),
        (13, 7, 31, 13, 30),
        (13, 7, 31, 5, 31),
        (8, 5, 97, 1, 1),
        (0, 4, 9, None, None),
    ],
)
def test_values_and_gradients_equal_whole_logits(
    n: int, h: int, v: int, chunk: int | None, vocab_chunk: int | None, temperature: float, with_bias: bool, trained: str
) -> None:
    """Mutants: sign of either derivative, temperature left out of one, label of another tile, last tile skipped, sums not shifted."""
    hidden, weight, labels, bias = (
        t.requires_grad_(name in trained) for t, name in zip(problem(n, h, v, torch.float64), "hw b", strict=True)
    )
    b = bias if with_bias else None
    leaves = [t for t in (hidden, weight, bias) if t.requires_grad]
    ours = linear_logprob(
        hidden,
        weight,
        labels,
        b,
        temperature=temperature,
        with_entropy=True,
        with_argmax=True,
        chunk_size=chunk,
        vocab_chunk_size=vocab_chunk,
    )
    exact = linear_logprob_ref(hidden, weight, labels, b, temperature=temperature)
    assert ours.entropies_N is not None and exact.entropies_N is not None
    assert ours.argmax_N is not None and exact.argmax_N is not None
    # Float64 against float64 in another order of summation over at most 131 terms.
    torch.testing.assert_close(ours.logps_N, exact.logps_N, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.entropies_N, exact.entropies_N, rtol=1e-12, atol=1e-12)
    assert torch.equal(ours.argmax_N, exact.argmax_N)
    for gradient, expected in zip(gradients(ours, leaves), gradients(exact, leaves), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_derivatives_equal_differences_of_values() -> None:
    """Independent of any formula of ours, by finite differences in float64."""
    hidden, weight, labels, bias = problem(3, 4, 11, torch.float64)
    for trained in ((hidden,), (hidden, weight, bias)):
        leaves = [t.clone().requires_grad_() for t in trained]

        def values(h: Tensor, w: Tensor = weight, b: Tensor = bias) -> tuple[Tensor, Tensor]:
            out = linear_logprob(h, w, labels, b, temperature=0.7, with_entropy=True, chunk_size=2, vocab_chunk_size=4)
            assert out.entropies_N is not None
            return out.logps_N, out.entropies_N

        assert torch.autograd.gradcheck(values, leaves)


@pytest.mark.parametrize("trained", ["h", "hw"])
@pytest.mark.parametrize(
    ("dtype", "value_error", "gradient_error"),
    # A logit below 8 in size is rounded by its product to 2 units of 2^-8 (bfloat16) or 2^-11 (float16) at most, and so is its
    # log-probability; a gradient is a sum of terms each rounded to 2^-9 or 2^-12 of itself, so its norm errs by about that.
    [(torch.float32, 4e-6, 2e-6), (torch.float16, 2e-3, 2**-11), (torch.bfloat16, 1.6e-2, 2**-8)],
)
def test_lower_precisions_stay_within_their_rounding(dtype: torch.dtype, value_error: float, gradient_error: float, trained: str) -> None:
    """Also: sums over the vocabulary are made in float32. Mutants: sum of terms or of products in the narrow dtype."""
    hidden, weight, labels, _ = problem(33, 48, 2057, dtype)
    seen = []
    for h, w in ((hidden, weight), (hidden.double(), weight.double())):
        leaves = [t.clone().requires_grad_() for t in (h, w)[: len(trained)]]
        w = [*leaves, w][1]
        out = linear_logprob(leaves[0], w, labels, with_entropy=True, chunk_size=10, vocab_chunk_size=64)
        assert out.entropies_N is not None
        seen.append((out.logps_N, out.entropies_N, gradients(out, leaves)))
    (logps, entropies, found), (exact_logps, exact_entropies, expected) = seen
    assert logps.dtype == entropies.dtype == torch.float32
    torch.testing.assert_close(logps.double(), exact_logps, rtol=0, atol=value_error)
    torch.testing.assert_close(entropies.double(), exact_entropies, rtol=0, atol=value_error / 4)  # a mean over logits errs less
    for ours, exact in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        assert float((ours.double() - exact).norm() / exact.norm()) < gradient_error


def test_bfloat16_is_nearer_to_the_truth_than_whole_logits() -> None:
    """With rows of the projection that have much in common, as those of real models have: products cancel in float32, not in bfloat16."""
    hidden, weight, labels, _ = problem(64, 64, 4000, torch.float32)
    hidden, weight = hidden.bfloat16(), (weight + weight[:1]).bfloat16()
    errors = []
    exact = hidden.double().requires_grad_()
    (expected,) = torch.autograd.grad(linear_logprob_ref(exact, weight.double(), labels).logps_N.sum(), exact)
    for call in (
        lambda h: linear_logprob(h, weight, labels, vocab_chunk_size=128).logps_N.sum(),
        lambda h: -functional.cross_entropy(h @ weight.T, labels, reduction="sum"),
    ):
        leaf = hidden.clone().requires_grad_()
        (found,) = torch.autograd.grad(call(leaf), leaf)
        errors.append(float((found.double() - expected).norm() / expected.norm()))
    assert errors[0] < errors[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_large_logits_do_not_overflow(size: float, dtype: torch.dtype) -> None:
    """The maximum grows from tile to tile, by far more than exponents hold. Mutants: maximum not subtracted, the shift's sign."""
    v = 60
    weight = size * torch.arange(v, dtype=torch.float64)[:, None].to(dtype)
    hidden = torch.tensor([[1.0], [-1.0], [0.0]], dtype=dtype).requires_grad_()
    labels = torch.tensor([v - 1, 0, 7])
    out = linear_logprob(hidden, weight, labels, with_entropy=True, with_argmax=True, vocab_chunk_size=7)
    # z_v = +-size v: the top is certain up to 1 / e^size, so logp = log(1 - e^-size); the last is uniform.
    top = math.log1p(-math.exp(-size))
    torch.testing.assert_close(out.logps_N.double(), torch.tensor([top, top, -math.log(v)], dtype=torch.float64), rtol=2e-6, atol=2e-6)
    assert out.argmax_N is not None and out.argmax_N.tolist() == [v - 1, 0, 0]
    assert out.entropies_N is not None and bool((out.entropies_N >= 0).all()) and bool(torch.isfinite(out.entropies_N).all())
    (gradient,) = torch.autograd.grad(out.logps_N.sum() + out.entropies_N.sum(), hidden)
    assert bool(torch.isfinite(gradient).all())


def test_what_all_logits_share_costs_no_precision() -> None:
    """Mutant: the maximum and the logarithm of the sum added first, which at 1e6 leaves 4 bits of the latter."""
    weight, labels, bias = torch.ones(60, 1, requires_grad=True), torch.tensor([4, 59]), torch.full((60,), 1e6)
    out = linear_logprob(torch.zeros(2, 1), weight, labels, bias.requires_grad_(), with_entropy=True, vocab_chunk_size=7)
    assert out.entropies_N is not None
    torch.testing.assert_close(out.logps_N, torch.full((2,), -math.log(60)))
    torch.testing.assert_close(out.entropies_N, torch.full((2,), math.log(60)))
    (gradient,) = torch.autograd.grad(out.logps_N.sum(), bias)
    torch.testing.assert_close(gradient, torch.bincount(labels, minlength=60) - 2 / 60)


@pytest.mark.parametrize("is_trained", [False, True])
def test_impossible_tokens_have_no_probability(is_trained: bool) -> None:
    """A bias of -inf, over whole tiles too. Mutants: a running maximum that starts at -inf, 0 times -inf in either pass."""
    hidden, weight, labels, bias = problem(5, 6, 40, torch.float64)
    bias[:17] = -math.inf
    labels = labels.clamp(min=17)
    leaves = [hidden.requires_grad_(), weight.requires_grad_(is_trained)][: 1 + is_trained]
    ours = linear_logprob(hidden, weight, labels, bias, with_entropy=True, vocab_chunk_size=8)
    exact = linear_logprob_ref(hidden, weight[17:], labels - 17, bias[17:])
    torch.testing.assert_close(ours.logps_N, exact.logps_N)
    torch.testing.assert_close(ours.entropies_N, exact.entropies_N)
    for gradient, expected in zip(gradients(ours, leaves), gradients(exact, leaves), strict=True):
        torch.testing.assert_close(gradient, expected)
    assert linear_logprob(hidden, weight, torch.full((5,), 3), bias, vocab_chunk_size=8).logps_N.tolist() == [-math.inf] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("coefficient", "temperature"), [(2.0, 1.0), (1.0, 0.5), (-3.0, 2.0)])
@pytest.mark.parametrize("is_trained", [False, True])
def test_no_factor_makes_an_impossible_token_count(is_trained: bool, coefficient: float, temperature: float, dtype: torch.dtype) -> None:
    """What the entropy's gradient is multiplied by comes before the probability. Mutants: the least number for -inf, or none."""
    hidden, weight, labels, bias = problem(5, 6, 40, dtype)
    bias[17:] = -math.inf
    labels = labels.clamp(max=16)
    leaves = [hidden.requires_grad_(), weight.requires_grad_(is_trained), bias.requires_grad_(is_trained)][: 1 + 2 * is_trained]
    ours = linear_logprob(hidden, weight, labels, bias, temperature=temperature, with_entropy=True, vocab_chunk_size=8)
    exact = linear_logprob_ref(hidden, weight[:17], labels, bias[:17], temperature=temperature)
    found, expected = (
        torch.autograd.grad(out.logps_N.sum() + coefficient * out.entropies_N.sum(), leaves)
        for out in (ours, exact)
        if out.entropies_N is not None
    )
    for gradient, of_the_possible in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, of_the_possible)
    if is_trained:
        assert not found[1][17:].any() and not found[2][17:].any()


def test_a_token_counts_as_long_as_its_probability_is_a_number() -> None:
    """d H / d z = -p (log p + H), and H is 0 here but for 1e-250. Mutant: what is below -700 taken for impossible."""
    bias = torch.tensor([0.0, -600.0, -705.0], dtype=torch.float64).requires_grad_()
    out = linear_logprob(
        torch.zeros(1, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64), torch.tensor([0]), bias, with_entropy=True
    )
    assert out.entropies_N is not None
    (gradient,) = torch.autograd.grad(out.entropies_N.sum(), bias)
    expected = torch.tensor([600 * math.exp(-600), 705 * math.exp(-705)], dtype=torch.float64)
    torch.testing.assert_close(gradient[1:], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, -0.5, math.inf, math.nan])
def test_a_temperature_that_is_not_above_zero_is_refused(temperature: float) -> None:
    """By whole logits and by tiles alike. Below 0 the kernel for CUDA made the columns beyond a row the likeliest: nan everywhere."""
    hidden, weight, labels, _ = problem(3, 4, 30, torch.float32)
    for call in (linear_logprob, linear_logprob_ref):
        with pytest.raises(InvalidArgument, match=f"temperature: expected a finite number above 0.*got {temperature}"):
            call(hidden, weight, labels, temperature=temperature)


def test_a_label_outside_the_vocabulary_is_not_a_number() -> None:
    """It would otherwise be a number like any other. Mutant: the label's logit starts at 0."""
    hidden, weight, _, _ = problem(3, 4, 30, torch.float32)
    out = linear_logprob(hidden, weight, torch.tensor([29, -100, 30]), vocab_chunk_size=8)
    assert out.logps_N.isnan().tolist() == [False, True, True]


def test_argmax_is_the_first_of_equals() -> None:
    """As torch has it: within a tile, and over tiles. Mutant: a later tile wins a draw."""
    weight = torch.zeros(40, 4)
    for row, entries in enumerate([(3, 5), (7, 8), (2, 39), ()]):
        weight[list(entries), row] = 1.0
    out = linear_logprob(torch.eye(4), weight, torch.zeros(4, dtype=torch.int64), with_argmax=True, vocab_chunk_size=8)
    assert out.argmax_N is not None and out.argmax_N.tolist() == [3, 7, 2, 0]


@pytest.mark.parametrize("num_trained", [1, 3])
def test_inputs_may_lie_apart(num_trained: int) -> None:
    hidden, weight, labels, bias = problem(12, 20, 50, torch.float64)
    apart = [torch.stack([t, t.flip(0)], dim=-1)[..., 0] for t in (hidden, labels, bias)]
    assert not any(t.is_contiguous() for t in apart)
    seen = []
    for h, w, y, b in ((hidden, weight, labels, bias), (apart[0], weight.T.contiguous().T, apart[1], apart[2])):
        leaves = [t.detach().requires_grad_() for t in (h, w, b)[:num_trained]]
        h, w, b = [*leaves, w, b][:3] if num_trained == 1 else leaves
        out = linear_logprob(h, w, y, b, with_entropy=True, chunk_size=5, vocab_chunk_size=16)
        seen.append((out.logps_N, *gradients(out, leaves)))
    for ours, reference in zip(*seen, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_a_bfloat16_projection_does_not_lose_with_more_tiles_of_tokens() -> None:
    """The product of each of 16 tiles is rounded, and their sum: sqrt(2) of one rounding. A sum in bfloat16 has 2.5 times its error."""
    hidden, weight, labels, _ = (t.bfloat16() if t.is_floating_point() else t for t in problem(512, 32, 300, torch.float32))
    exact = weight.double().requires_grad_()
    (expected,) = torch.autograd.grad(linear_logprob_ref(hidden.double(), exact, labels).logps_N.sum(), exact)
    errors = []
    for chunk_size in (512, 32):
        leaf = weight.clone().requires_grad_()
        (found,) = torch.autograd.grad(linear_logprob(hidden, leaf, labels, chunk_size=chunk_size).logps_N.sum(), leaf)
        errors.append(float((found.double() - expected).norm() / expected.norm()))
    assert errors[1] < 1.42 * errors[0]


@pytest.mark.parametrize("is_trained", [False, True])
def test_autocast_narrows_the_products_and_nothing_else(is_trained: bool) -> None:
    """What comes out equals a call with narrow operands; gradients come in the dtypes of the leaves."""
    hidden, weight, labels, _ = problem(12, 20, 50, torch.float32)
    leaves = [hidden.requires_grad_(), weight.requires_grad_(is_trained)][: 1 + is_trained]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = linear_logprob(hidden, weight, labels)
    narrow = linear_logprob(hidden.detach().bfloat16(), weight.detach().bfloat16(), labels)
    assert torch.equal(low.logps_N, narrow.logps_N)
    exact = torch.autograd.grad(linear_logprob_ref(hidden, weight, labels).logps_N.sum(), leaves)
    for gradient, expected in zip(torch.autograd.grad(low.logps_N.sum(), leaves), exact, strict=True):
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient, expected, rtol=2e-2, atol=2e-2)


def test_log_probabilities_are_those_of_cross_entropy_at_the_default_tile() -> None:
    """Two tiles of tokens and two of the vocabulary, by the sizes that users get."""
    hidden, weight, labels, _ = problem(600, 8, 2000, torch.float32)
    seen = linear_logprob(hidden, weight, labels).logps_N
    torch.testing.assert_close(-seen, functional.cross_entropy(hidden @ weight.T, labels, reduction="none"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trained", ["h", "hw"])
def test_a_label_outside_the_vocabulary_leaves_the_other_tokens_their_gradients(trained: str) -> None:
    hidden, weight, _, _ = problem(3, 4, 30, torch.float64)
    leaves = [hidden.requires_grad_(), weight.requires_grad_("w" in trained)][: len(trained)]
    out = linear_logprob(hidden, weight, torch.tensor([29, -100, 30]), vocab_chunk_size=8)
    assert out.logps_N.isnan().tolist() == [False, True, True]
    expected = torch.autograd.grad(linear_logprob_ref(hidden[:1], weight, torch.tensor([29])).logps_N.sum(), leaves)
    for gradient, exact in zip(torch.autograd.grad(out.logps_N[0], leaves), expected, strict=True):
        torch.testing.assert_close(gradient, exact)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels_N": torch.zeros(1, dtype=torch.int64)}, r"labels should have shape \(3,\) .* has \(1,\)"),
        ({"labels_N": torch.zeros(4, dtype=torch.int64)}, r"labels should have shape \(3,\) .* has \(4,\)"),
        ({"bias_V": torch.zeros(1)}, r"bias should have shape \(30,\) .* has \(1,\)"),
        ({"hidden_NH": torch.zeros(1, 3, 4)}, r"hidden should have shape \(1, 4\) .* has \(1, 3, 4\)"),
        ({"temperature": 0.0}, "temperature: expected a finite number above 0, which logits are divided by, got 0.0"),
    ],
)
def test_what_does_not_belong_together_is_refused(wrong: dict[str, Any], message: str) -> None:
    """Of length one it would be stretched, and beyond its end a kernel would read on."""
    hidden, weight, labels, _ = problem(3, 4, 30, torch.float32)
    with pytest.raises(InvalidArgument, match=message):
        linear_logprob(**{"hidden_NH": hidden, "weight_VH": weight, "labels_N": labels, **wrong})


def test_autocast_leaves_float64_alone() -> None:
    hidden, weight, labels, _ = problem(3, 4, 30, torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = linear_logprob(hidden, weight, labels).logps_N
    torch.testing.assert_close(found, linear_logprob_ref(hidden, weight, labels).logps_N)
