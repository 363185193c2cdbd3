"""The Triton path of the projection to log-probabilities equals float64; in Triton's interpreter, and on a GPU where there is one.

``R`` below is what float64 makes of the very logits that the kernel is given, after their rounding to the dtype.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from twinkle.kernels import _linear_logprob_triton as triton_path
from twinkle.kernels import linear_logprob as linear_logprob_module
from twinkle.kernels._linear_logprob_triton import absorb_rows_, default_chunk
from twinkle.kernels.linear_logprob import linear_logprob, linear_logprob_ref
from twinkle.kernels.tuning import Launch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BLOCK = 256
SMALL = Launch(blocks={"BLOCK_V": BLOCK})
INF = float("inf")

# What one rounding on the way out of the kernel may change: half a unit in the last place, a whole one where the interpreter cuts bits off.
ROUNDING = {torch.float32: 2**-24, torch.float16: 2**-11, torch.bfloat16: 2**-7}

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")


class Seen(NamedTuple):
    logps_C: Tensor
    entropies_C: Tensor
    argmax_C: Tensor
    d_logp_CV: Tensor
    d_entropy_CV: Tensor


def reference(logits_CV: Tensor, labels_C: Tensor, bias_V: Tensor | None = None, temperature: float = 1.0) -> Seen:
    """By the formulas of the softmax, in float64."""
    z_CV = (logits_CV.double() + (0 if bias_V is None else bias_V.double())) / temperature
    logp_CV = torch.log_softmax(z_CV, -1)
    p_CV = logp_CV.exp()
    plogp_CV = torch.where(p_CV > 0, p_CV * logp_CV, 0)
    entropies_C = -plogp_CV.sum(-1)
    onehot_CV = torch.nn.functional.one_hot(labels_C, z_CV.shape[1])
    return Seen(
        logp_CV.gather(1, labels_C[:, None])[:, 0],
        entropies_C,
        z_CV.argmax(-1),
        (onehot_CV - p_CV) / temperature,
        -(plogp_CV + p_CV * entropies_C[:, None]) / temperature,
    )


def by_kernel(logits_CV: Tensor, labels_C: Tensor, bias_V: Tensor | None = None, temperature: float = 1.0) -> Seen:
    """The same by one launch over a copy of the logits, in the strides of the logits."""
    rows_CV = torch.empty_strided(logits_CV.shape, logits_CV.stride(), dtype=logits_CV.dtype, device=logits_CV.device).copy_(logits_CV)
    logps_C = torch.empty(len(labels_C), device=DEVICE)
    seen = Seen(logps_C, torch.empty_like(logps_C), torch.empty_like(labels_C), rows_CV, torch.empty_like(logits_CV).contiguous())
    absorb_rows_(
        rows_CV,
        labels_C,
        bias_V,
        temperature=temperature,
        logps_C=seen.logps_C,
        entropies_C=seen.entropies_C,
        argmax_C=seen.argmax_C,
        gradient=True,
        d_entropy_CV=seen.d_entropy_CV,
        launch=SMALL,
    )
    return seen


def by_tile(logits_CV: Tensor, labels_C: Tensor, width: int, temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, entropies and argmax with the vocabulary in tiles of ``width``."""
    num_rows, num_v = logits_CV.shape
    logps_C, entropies_C = torch.empty(2, num_rows, device=DEVICE)
    argmax_C, state_4C = torch.empty_like(labels_C), torch.full((4, num_rows), float("nan"), device=DEVICE)
    for first in range(0, num_v, width):
        absorb_rows_(
            logits_CV[:, first : first + width],
            labels_C,
            temperature=temperature,
            logps_C=logps_C,
            entropies_C=entropies_C,
            argmax_C=argmax_C,
            state_4C=state_4C,
            first_v=first,
            first=first == 0,
            last=first + width >= num_v,
            launch=SMALL,
        )
    return logps_C, entropies_C, argmax_C


def close(seen: Seen, exact: Seen, dtype: torch.dtype) -> None:
    """Statistics are float32 sums of at most 1,031 positive terms, added to logits of size 10; derivatives are rounded once."""
    torch.testing.assert_close(seen.logps_C.double(), exact.logps_C, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(seen.entropies_C.double(), exact.entropies_C, rtol=2e-6, atol=4e-6)
    assert torch.equal(seen.argmax_C, exact.argmax_C)
    # exp(z - lse) inherits the 2e-6 of lse as a relative error; float16 has subnormals from 6e-8 on.
    rounding, floor = ROUNDING[dtype] + 4e-6, 6e-8 if dtype == torch.float16 else 1e-8
    torch.testing.assert_close(seen.d_logp_CV.double(), exact.d_logp_CV, rtol=rounding, atol=floor)
    # log p + H is a difference of numbers of size 10.
    torch.testing.assert_close(
        seen.d_entropy_CV.double(), exact.d_entropy_CV, rtol=rounding, atol=floor + 4e-6 * exact.d_logp_CV.abs().max()
    )


def draw(num_rows: int, num_v: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits with a spread of 3, labels with both ends of the row and of a block among them, a bias."""
    generator = torch.Generator().manual_seed(seed)
    logits_CV = (3 * torch.randn(num_rows, num_v, generator=generator)).to(dtype)
    labels_C = torch.randint(0, num_v, (num_rows,), generator=generator)
    for row, label in enumerate((0, num_v - 1, min(BLOCK - 1, num_v - 1), min(BLOCK, num_v - 1))[:num_rows]):
        labels_C[row] = label
    return logits_CV.to(DEVICE), labels_C.to(DEVICE), torch.randn(num_v, generator=generator).to(dtype).to(DEVICE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("num_rows", "num_v", "with_bias", "temperature"),
    [(1, 37, False, 1.0), (5, 37, True, 0.7), (5, 1031, False, 1.6), (6, 1024, True, 1.0)],
)
def test_rows_equal_float64(num_rows: int, num_v: int, with_bias: bool, temperature: float, dtype: torch.dtype) -> None:
    """Mutants: last block unmasked, label of the next column, sign or 1 / temperature of a derivative, label's logit without bias."""
    logits_CV, labels_C, bias_V = draw(num_rows, num_v, dtype)
    bias = bias_V if with_bias else None
    close(by_kernel(logits_CV, labels_C, bias, temperature), reference(logits_CV, labels_C, bias, temperature), dtype)


@pytest.mark.parametrize("width", [100, 256, 300, 1030, 1031, 5000])
def test_a_vocabulary_in_tiles_equals_a_whole_one(width: int) -> None:
    """Mutants: a sum or moment not shrunk when the maximum grows, first column forgotten in label or argmax, label's logit not carried."""
    logits_CV, labels_C, _ = draw(6, 1031, torch.float32)
    logits_CV += torch.linspace(0, 40, 1031, device=DEVICE) * torch.tensor([1.0, -1.0, 0.0] * 2, device=DEVICE)[:, None]
    exact = reference(logits_CV, labels_C, temperature=0.9)
    logps_C, entropies_C, argmax_C = by_tile(logits_CV, labels_C, width, temperature=0.9)
    # float32 of differences of logits of size 50
    torch.testing.assert_close(logps_C.double(), exact.logps_C, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(entropies_C.double(), exact.entropies_C, rtol=1e-6, atol=1e-5)
    assert torch.equal(argmax_C, exact.argmax_C)


def test_upstream_gradients_scale_and_join_both_derivatives() -> None:
    """Mutants: the two upstream gradients exchanged, one without 1 / temperature, the entropy's subtracted."""
    logits_CV, labels_C, bias_V = draw(5, 300, torch.float32)
    exact = reference(logits_CV, labels_C, bias_V, 0.8)
    g_logps_C, g_entropies_C = torch.tensor([[0.5, -2.0, 0.0, 1.0, 3.0], [1.0, 0.25, -1.5, 0.0, 2.0]], device=DEVICE)
    for g_entropies in (None, g_entropies_C):
        rows_CV = logits_CV.clone()
        absorb_rows_(
            rows_CV, labels_C, bias_V, temperature=0.8, gradient=True, g_logps_C=g_logps_C, g_entropies_C=g_entropies, launch=SMALL
        )
        expected_CV = g_logps_C[:, None] * exact.d_logp_CV
        if g_entropies is not None:
            expected_CV = expected_CV + g_entropies[:, None] * exact.d_entropy_CV
        torch.testing.assert_close(rows_CV.double(), expected_CV, rtol=4e-6, atol=4e-6)


def test_argmax_is_the_first_of_equals() -> None:
    """Within a block, in two blocks, in two tiles, everywhere; and of rows that are nowhere finite."""
    logits_CV = torch.zeros(6, 1031, device=DEVICE)
    for row, columns in enumerate([(3, 9), (200, 700), (255, 256), (511, 1030), ()]):
        logits_CV[row, list(columns)] = 1.0
    labels_C = torch.zeros(6, dtype=torch.int64, device=DEVICE)
    for argmax_C in (by_kernel(logits_CV[:5], labels_C[:5]).argmax_C, by_tile(logits_CV[:5], labels_C[:5], 512)[2]):
        assert argmax_C.tolist() == [3, 200, 255, 511, 0]


def test_impossible_tokens_have_no_probability_and_no_gradient() -> None:
    """Logits of -inf in whole blocks, first and last, in all but one place, and at the label. Mutant: -inf minus -inf."""
    logits_CV, labels_C, _ = draw(5, 700, torch.float32)
    logits_CV[0, 1:BLOCK] = -INF  # its label is 0
    logits_CV[1, : 2 * BLOCK] = -INF
    logits_CV[2, BLOCK:] = -INF
    logits_CV[3] = torch.where(torch.arange(700, device=DEVICE) == labels_C[3], logits_CV[3], -INF)
    logits_CV[4, labels_C[4]] = -INF
    seen, exact = by_kernel(logits_CV, labels_C), reference(logits_CV, labels_C)
    assert seen.logps_C[4] == -INF and seen.logps_C[3] == 0 and seen.entropies_C[3] == 0
    close(seen, exact, torch.float32)
    logps_C, entropies_C, _ = by_tile(logits_CV, labels_C, BLOCK)
    torch.testing.assert_close(logps_C.double(), exact.logps_C, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(entropies_C.double(), exact.entropies_C, rtol=2e-6, atol=4e-6)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 1e6), (torch.bfloat16, 1e30), (torch.float16, 3e4)])
def test_large_logits_do_not_overflow(dtype: torch.dtype, size: float) -> None:
    """Mutant: the maximum not subtracted."""
    logits_CV, labels_C, _ = draw(4, 600, torch.float32)
    logits_CV = torch.cat([(logits_CV + size).to(dtype), (logits_CV - size).to(dtype), (logits_CV * size / 20).to(dtype)])
    seen, exact = by_kernel(logits_CV, labels_C.repeat(3)), reference(logits_CV, labels_C.repeat(3))
    # Differences of equal logits are exact, and log 600 is all that remains; others are as exact as float32 is.
    torch.testing.assert_close(seen.logps_C.double(), exact.logps_C, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(seen.d_logp_CV.double(), exact.d_logp_CV, rtol=ROUNDING[dtype] + 4e-6, atol=6e-8)
    assert torch.isfinite(seen.d_entropy_CV).all() and torch.isfinite(seen.entropies_C).all()


def test_a_label_outside_the_vocabulary_is_not_a_number() -> None:
    logits_CV, _, _ = draw(3, 300, torch.float32)
    labels_C = torch.tensor([-100, 300, 299], device=DEVICE)
    for logps_C in (by_kernel(logits_CV, labels_C).logps_C, by_tile(logits_CV, labels_C, 128)[0]):
        assert logps_C.isnan().tolist() == [True, True, False]


def test_rows_may_lie_apart_and_what_lies_between_stays() -> None:
    wide_CV, labels_C, _ = draw(4, 400, torch.float32)
    before_CV, labels_C = wide_CV.clone(), labels_C.clamp(max=300)
    close(by_kernel(wide_CV[:, 3:304], labels_C), reference(wide_CV[:, 3:304], labels_C), torch.float32)
    absorb_rows_(wide_CV[:, 3:304], labels_C, gradient=True, launch=SMALL)
    torch.testing.assert_close(wide_CV[:, 3:304].double(), reference(before_CV[:, 3:304], labels_C).d_logp_CV, rtol=4e-6, atol=1e-8)
    assert torch.equal(wide_CV[:, :3], before_CV[:, :3]) and torch.equal(wide_CV[:, 304:], before_CV[:, 304:])


def test_offsets_beyond_two_to_the_31st_are_whole() -> None:
    """Three rows 2^30 + 16 numbers apart, of which only the rows' own pages are ever touched. Mutant: the row's number left in 32 bits."""
    distance = 2**30 + 16
    rows_CV = torch.empty(2 * distance + 37, dtype=torch.float16, device=DEVICE).as_strided((3, 37), (distance, 1))
    logits_CV, labels_C, _ = draw(3, 37, torch.float16)
    rows_CV.copy_(logits_CV)
    logps_C = torch.empty(3, device=DEVICE)
    absorb_rows_(rows_CV, labels_C, logps_C=logps_C, gradient=True, launch=SMALL)
    exact = reference(logits_CV, labels_C)
    torch.testing.assert_close(logps_C.double(), exact.logps_C, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(rows_CV.double(), exact.d_logp_CV, rtol=2**-11, atol=6e-8)


def problem(n: int, h: int, v: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden_NH = torch.randn(n, h, generator=generator)
    weight_VH = torch.randn(v, h, generator=generator) / h**0.5
    labels_N = torch.randint(0, v, (n,), generator=generator)
    bias_V = torch.randn(v, generator=generator)
    return hidden_NH.to(DEVICE, dtype), weight_VH.to(DEVICE, dtype), labels_N.to(DEVICE), bias_V.to(DEVICE, dtype)


# A float16 logit of size 4 is rounded by 2^-10 and a derivative of size 1 by 2^-11; a float32 one by nothing that shows.
@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 4e-6), (torch.float16, 4e-3)])
@pytest.mark.parametrize(("n", "chunk"), [(0, None), (1, None), (5, 2), (5, 5)])
def test_passes_equal_whole_logits(
    n: int, chunk: int | None, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and every gradient, of operands that are not contiguous. Mutants: last chunk dropped, a product without its chunk's part."""
    monkeypatch.setattr(triton_path, "_TILE_BYTES", 4 * 400 * n)  # more than one tile of the vocabulary in either dtype
    hidden_NH, weight_VH, labels_N, bias_V = problem(n, 8, 1031, dtype)
    leaves = [t.double().requires_grad_() for t in (hidden_NH, weight_VH, bias_V)]
    exact = linear_logprob_ref(leaves[0], leaves[1], labels_N, leaves[2], temperature=0.7)
    assert exact.entropies_N is not None and exact.argmax_N is not None
    hidden_NH, weight_VH = torch.stack([hidden_NH, hidden_NH], -1)[..., 0], weight_VH.T.contiguous().T
    labels_N, bias_V = torch.stack([labels_N, labels_N], -1)[..., 0], torch.stack([bias_V, bias_V], -1)[..., 0]
    g_logps_N, g_entropies_N = torch.ones((), device=DEVICE).expand(n), torch.linspace(-1, 1, n, device=DEVICE)

    for with_gradient in (False, True):
        logps_N, entropies_N, argmax_N, d_logp_NH, d_entropy_NH = triton_path.forward(
            hidden_NH,
            weight_VH,
            labels_N,
            bias_V,
            temperature=0.7,
            with_entropy=True,
            with_argmax=True,
            with_gradient=with_gradient,
            chunk_size=chunk,
            launch=SMALL,
        )
        torch.testing.assert_close(logps_N.double(), exact.logps_N, rtol=tolerance, atol=tolerance)
        assert entropies_N is not None and argmax_N is not None
        torch.testing.assert_close(entropies_N.double(), exact.entropies_N, rtol=tolerance, atol=tolerance)
        if dtype == torch.float32:
            assert torch.equal(argmax_N, exact.argmax_N)
    assert d_logp_NH is not None and d_entropy_NH is not None
    for derivative_NH, total in ((d_logp_NH, exact.logps_N.sum()), (d_entropy_NH, exact.entropies_N.sum())):
        (expected_NH,) = torch.autograd.grad(total, leaves[0], retain_graph=True)
        torch.testing.assert_close(derivative_NH.double(), expected_NH, rtol=tolerance, atol=2 * tolerance)

    needs = (True, True, True)
    seen = triton_path.backward(
        hidden_NH, weight_VH, labels_N, bias_V, g_logps_N, g_entropies_N, temperature=0.7, needs=needs, chunk_size=chunk, launch=SMALL
    )
    total = (exact.logps_N * g_logps_N).sum() + (exact.entropies_N * g_entropies_N).sum()
    for gradient, expected in zip(seen, torch.autograd.grad(total, leaves), strict=True):
        assert gradient is not None and gradient.dtype == dtype
        torch.testing.assert_close(gradient.double(), expected, rtol=tolerance, atol=4 * tolerance)


@pytest.mark.parametrize("is_frozen", [True, False])
def test_the_public_function_gives_what_it_gives_on_a_cpu(is_frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through autograd, with torch's path and then with this one."""
    hidden_NH, weight_VH, labels_N, bias_V = problem(9, 8, 300, torch.float32)
    seen = []
    for takes_triton in (False, True):
        monkeypatch.setattr(linear_logprob_module, "_takes_triton", lambda hidden_NH, answer=takes_triton: answer)
        leaves = [t.clone().requires_grad_(not is_frozen or t is hidden_NH) for t in (hidden_NH, weight_VH, bias_V)]
        out = linear_logprob(*leaves[:2], labels_N, leaves[2], temperature=0.7, with_entropy=True, with_argmax=True, chunk_size=4)
        assert out.entropies_N is not None
        (out.logps_N.sum() - 0.1 * out.entropies_N.sum()).backward()
        seen.append((out.logps_N, out.entropies_N, out.argmax_N, *(leaf.grad for leaf in leaves)))
    # Two orders of summation in float32, over 300 entries and 9 tokens.
    torch.testing.assert_close(*seen, rtol=1e-5, atol=1e-5)


def test_only_what_is_asked_for_is_made() -> None:
    hidden_NH, weight_VH, labels_N, bias_V = problem(3, 8, 50, torch.float32)
    assert triton_path.forward(hidden_NH, weight_VH, labels_N)[1:] == (None, None, None, None)
    g_logps_N = torch.ones(3, device=DEVICE)
    for needs in ((True, False, False), (False, True, False), (False, False, True)):
        seen = triton_path.backward(hidden_NH, weight_VH, labels_N, bias_V, g_logps_N, None, temperature=1.0, needs=needs)
        assert tuple(t is not None for t in seen) == needs


def test_operations_are_counted() -> None:
    """2 N H V without a gradient, 4 N H V with it, 6 N H V for the gradients of a projection that is trained."""
    hidden_NH, weight_VH, labels_N, _ = problem(6, 8, 300, torch.float32)
    product = 2 * 6 * 8 * 300
    for with_gradient, products in ((False, 1), (True, 2)):
        with FlopCounterMode(display=False) as counter:
            triton_path.forward(hidden_NH, weight_VH, labels_N, with_gradient=with_gradient, launch=SMALL)
        assert counter.get_total_flops() == products * product
    with FlopCounterMode(display=False) as counter:
        triton_path.backward(
            hidden_NH,
            weight_VH,
            labels_N,
            None,
            torch.ones(6, device=DEVICE),
            None,
            temperature=1.0,
            needs=(True, True, False),
            launch=SMALL,
        )
    assert counter.get_total_flops() == 3 * product


@pytest.mark.parametrize(
    ("num_tokens", "num_v", "num_buffers", "chunk"),
    [
        (8192, 151_936, 1, 2048),
        (8192, 151_936, 2, 1024),
        (1000, 151_936, 1, 1024),
        (2300, 151_936, 1, 1152),
        (1, 151_936, 1, 128),
        (0, 9, 1, 128),
    ],
)
def test_chunks_are_equal_and_within_the_budget(num_tokens: int, num_v: int, num_buffers: int, chunk: int) -> None:
    """By hand: 640 MiB hold 2,208 rows of 151,936 bfloat16 logits, or 1,104 pairs of rows."""
    weight_VH = torch.empty(num_v, 4, dtype=torch.bfloat16, device="meta")
    assert default_chunk(num_tokens, weight_VH, num_buffers) == chunk


def test_tiles_without_a_gradient_stay_under_64_mb(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,096 tokens of 7,680 bfloat16 logits; the kernel is left out, and products of tensors without storage cost nothing."""
    shapes = []
    monkeypatch.setattr(triton_path, "absorb_rows_", lambda logits_CV, *_, **__: shapes.append(tuple(logits_CV.shape)))
    hidden_NH, weight_VH = (torch.empty(n, 4, dtype=torch.bfloat16, device="meta") for n in (5000, 151_936))
    triton_path.forward(hidden_NH, weight_VH, torch.empty(5000, dtype=torch.int64, device="meta"))
    assert shapes[0] == (4096, 7680) and all(2 * rows * columns <= 63e6 for rows, columns in shapes)
    assert sum(rows * columns for rows, columns in shapes) == 5000 * 151_936


@pytest.mark.slow
def test_kernels_compile_for_real_devices_without_spilling(tmp_path: Path) -> None:
    """The interpreter takes what the compiler refuses. Ampere and Hopper; every use of the kernel that a pass makes."""
    float_pointers = ("logps_ptr", "entropies_ptr", "state_ptr", "g_logps_ptr", "g_entropies_ptr")
    signature = {
        **dict.fromkeys(("logits_ptr", "bias_ptr", "d_entropy_ptr"), "*bf16"),
        **dict.fromkeys(("labels_ptr", "argmax_ptr"), "*i64"),
        **dict.fromkeys(float_pointers, "*fp32"),
        **dict.fromkeys(("logits_stride", "num_v", "first_v"), "i32"),
        "inv_temperature": "fp32",
    }
    whole = {"FIRST": True, "LAST": True, "GRADIENT": True}
    uses = [
        ({"logps_ptr"}, whole),
        ({"logps_ptr", "entropies_ptr", "argmax_ptr", "bias_ptr", "d_entropy_ptr"}, whole),
        ({"g_logps_ptr", "g_entropies_ptr", "bias_ptr"}, whole),
        ({"logps_ptr", "entropies_ptr", "argmax_ptr", "state_ptr"}, {"FIRST": False, "LAST": False, "GRADIENT": False}),
    ]
    optional = {name for name, kind in signature.items() if kind.startswith("*")} - {"logits_ptr", "labels_ptr"}
    jobs = [
        {
            "module": triton_path.__name__,
            "kernel": "_rows_kernel",
            "capability": capability,
            "signature": signature,
            "constants": {**constants, "BLOCK_V": 8192, **dict.fromkeys(optional - used)},
            "num_warps": 8,
        }
        for capability in (80, 90)
        for used, constants in uses
    ]
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("compile_kernels.py")
    done = subprocess.run([sys.executable, script], input=json.dumps(jobs), env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for built in json.loads(done.stdout):
        assert built["spilled_bytes"] == 0
        assert built["widest_load_bits"] == 128


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("with_gradient", [False, True])
def test_a_gpu_agrees_with_float64_in_bfloat16(with_gradient: bool) -> None:
    """A real vocabulary with the table's own launch: bfloat16 logits of size 4 are rounded by 2^-7, and so are log-probabilities."""
    hidden_NH, weight_VH, labels_N, bias_V = problem(300, 512, 151_936, torch.bfloat16)
    hidden_64 = hidden_NH.double().requires_grad_()
    exact = linear_logprob_ref(hidden_64, weight_VH.double(), labels_N, bias_V.double(), temperature=0.8)
    logps_N, entropies_N, _, d_logp_NH, _ = triton_path.forward(
        hidden_NH, weight_VH, labels_N, bias_V, temperature=0.8, with_entropy=True, with_gradient=with_gradient
    )
    torch.testing.assert_close(logps_N.double(), exact.logps_N, rtol=0, atol=4e-2)
    assert entropies_N is not None
    torch.testing.assert_close(entropies_N.double(), exact.entropies_N, rtol=0, atol=1e-2)
    if with_gradient:
        assert d_logp_NH is not None
        (expected_NH,) = torch.autograd.grad(exact.logps_N.sum(), hidden_64)
        error = (d_logp_NH.double() - expected_NH).norm() / expected_NH.norm()
        assert error < 1e-2
