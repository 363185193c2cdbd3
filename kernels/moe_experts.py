"""A layer of gated experts, each token through K of E, with products of exactly the rows that an expert got.

For token t and its experts e = index[t, k]::

    [g | u] = x_t G_e^T        h = silu(g) u        out_t = sum_k weight[t, k] h D_e^T

Rows (a row is a token with one of its experts) are sorted by expert once; then each expert's rows are one piece of memory. Backward, with
``o_t`` the gradient of ``out_t``, ``w`` the row's weight and ``a = o_t D_e``::

    d weight = <a, h>      d h = w a      d D_e = sum o_t^T (w h)      d G_e = sum [d g | d u]^T x_t      d x_t = sum_k [d g | d u] G_e

so neither the experts' outputs nor the gathered tokens have to be kept: ``[g | u]`` is, and ``h`` comes from the sigmoid that the
derivative needs anyway. That is 2 S I numbers a layer where autograd keeps ``S (2 H + 4 I)``, for one more gather of S rows. Computing
``[g | u]`` again as well would save them too, for two ninths more products; recomputing whole layers serves those who need that.

A weight's gradient is one tensor that each expert's product is written into. An index ``weight[e]`` for each expert would make autograd
fill E tensors of the whole shape with zeros, and add them. A frozen weight costs nothing; a trained one always gets its gradient, zeros
for experts without a token, so that ranks whose experts got none still take part in the reduction.

The sort, the offsets of the groups and the grouped products follow MegaBlocks (Gale et al. 2022, arXiv 2211.15841); ``<a, h>`` in place of
``<o_t, h D_e^T>`` is known from SonicMoE (Guo et al. 2025, arXiv 2512.14080).

Letters: T tokens, K experts a token, S = T K rows, E experts, H hidden size, I width of an expert, J = 2 I; n rows of one expert.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, silu

from twinkle.core.errors import InvalidArgument
from twinkle.kernels import _huge_page
from twinkle.kernels._first_derivative import once_differentiable


def moe_experts(hidden_TH: Tensor, gate_up_EJH: Tensor, down_EHI: Tensor, expert_index_TK: Tensor, expert_weight_TK: Tensor) -> Tensor:
    """``out_t = sum_k weight[t, k] expert_{index[t, k]}(x_t)``, ``[T, H]``; differentiable once in all but the index.

    Args:
        gate_up_EJH: rows of the gate first, then those of the other half, as transformers stores ``gate_up_proj``.
        down_EHI: as transformers stores ``down_proj``.
        expert_index_TK: int64 or int32 in ``[0, E)``; an expert may come twice in a row. A GPU does not check the range.

    Raises:
        InvalidArgument: shapes that do not belong together, or, on the CPU, an index outside ``[0, E)``.
    """
    _check_shapes(hidden_TH, gate_up_EJH, down_EHI, expert_index_TK, expert_weight_TK)
    dtype = hidden_TH.dtype
    if torch.is_autocast_enabled(hidden_TH.device.type) and dtype != torch.float64:  # which autocast leaves alone everywhere
        low = torch.get_autocast_dtype(hidden_TH.device.type)
        hidden_TH, gate_up_EJH, down_EHI = hidden_TH.to(low), gate_up_EJH.to(low), down_EHI.to(low)
    out_TH: Tensor = _MoeExperts.apply(  # type: ignore[no-untyped-call]
        hidden_TH, gate_up_EJH, down_EHI, expert_index_TK, expert_weight_TK
    )
    return out_TH.to(dtype)


def moe_experts_ref(hidden_TH: Tensor, gate_up_EJH: Tensor, down_EHI: Tensor, expert_index_TK: Tensor, expert_weight_TK: Tensor) -> Tensor:
    """The same in float32 or wider, every token through every expert: what the fast path must equal."""
    wide = torch.promote_types(hidden_TH.dtype, torch.float32)
    hidden_TH, gate_up_EJH, down_EHI = hidden_TH.to(wide), gate_up_EJH.to(wide), down_EHI.to(wide)
    out_TH = torch.zeros_like(hidden_TH)
    for expert, (gate_up_JH, down_HI) in enumerate(zip(gate_up_EJH.unbind(), down_EHI.unbind(), strict=True)):
        weight_T = (expert_weight_TK.to(wide) * (expert_index_TK == expert)).sum(1)
        gate_TI, up_TI = (hidden_TH @ gate_up_JH.T).chunk(2, dim=-1)
        out_TH = out_TH + weight_T[:, None] * ((silu(gate_TI) * up_TI) @ down_HI.T)
    return out_TH


def _check_shapes(hidden_TH: Tensor, gate_up_EJH: Tensor, down_EHI: Tensor, expert_index_TK: Tensor, expert_weight_TK: Tensor) -> None:
    num_experts, hidden_size, width = down_EHI.shape
    expected = {
        "hidden": (expert_index_TK.shape[0], hidden_size),
        "gate_up": (num_experts, 2 * width, hidden_size),
        "expert_weight": tuple(expert_index_TK.shape),
    }
    got = {"hidden": hidden_TH, "gate_up": gate_up_EJH, "expert_weight": expert_weight_TK}
    for name, shape in expected.items():
        if tuple(got[name].shape) != shape:
            raise InvalidArgument(
                f"{name} should have shape {shape} beside down {tuple(down_EHI.shape)} [experts, hidden, width] and an expert index of "
                f"shape {tuple(expert_index_TK.shape)} [tokens, experts a token], and has {tuple(got[name].shape)}"
            )


class _MoeExperts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_TH: Tensor, gate_up_EJH: Tensor, down_EHI: Tensor, expert_index_TK: Tensor, expert_weight_TK: Tensor
    ) -> Tensor:
        order_S, row_TK, ends_E = _sort_by_expert(expert_index_TK, gate_up_EJH.shape[0])
        x_SH = hidden_TH.index_select(0, order_S // expert_index_TK.shape[1])
        gate_up_SJ = _multiply_rows(x_SH, gate_up_EJH.transpose(1, 2), ends_E)
        gate_SI, up_SI = gate_up_SJ.chunk(2, dim=-1)
        y_SH = _multiply_rows(silu(gate_SI).mul_(up_SI), down_EHI.transpose(1, 2), ends_E)
        ctx.save_for_backward(
            hidden_TH if ctx.needs_input_grad[1] else None, gate_up_EJH, down_EHI, expert_weight_TK, gate_up_SJ, order_S, row_TK, ends_E
        )
        return embedding_bag(row_TK, y_SH, mode="sum", per_sample_weights=expert_weight_TK.to(y_SH.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out_TH: Tensor) -> tuple[Tensor | None, ...]:
        hidden_TH, gate_up_EJH, down_EHI, expert_weight_TK, gate_up_SJ, order_S, row_TK, ends_E = ctx.saved_tensors
        needs_hidden, needs_gate_up, needs_down, _, needs_weight = ctx.needs_input_grad
        token_S = order_S // row_TK.shape[1]
        weight_S1 = expert_weight_TK.reshape(-1, 1).index_select(0, order_S).to(gate_up_SJ.dtype)
        gate_SI, up_SI = gate_up_SJ.chunk(2, dim=-1)
        silu_SI = silu(gate_SI)

        g_out_SH = g_out_TH.index_select(0, token_S)
        h_SI = silu_SI * up_SI
        g_hidden_TH = g_gate_up_EJH = g_down_EHI = g_weight_TK = None
        if needs_hidden or needs_gate_up or needs_weight:
            a_SI = _multiply_rows(g_out_SH, down_EHI, ends_E)
        if needs_weight:
            g_weight_TK = (a_SI * h_SI).sum(-1)[row_TK].to(expert_weight_TK.dtype)
        if needs_down:
            g_down_EHI = _multiply_groups(g_out_SH, h_SI.mul_(weight_S1), ends_E)
        if needs_hidden or needs_gate_up:
            g_gate_up_SJ = _gate_backward(a_SI.mul_(weight_S1), gate_SI, up_SI, silu_SI)
        if needs_hidden:
            g_hidden_TH = embedding_bag(row_TK, _multiply_rows(g_gate_up_SJ, gate_up_EJH, ends_E), mode="sum")
        if needs_gate_up:
            g_gate_up_EJH = _multiply_groups(g_gate_up_SJ, hidden_TH.index_select(0, token_S), ends_E)
        return g_hidden_TH, g_gate_up_EJH, g_down_EHI, None, g_weight_TK


def _gate_backward(g_h_SI: Tensor, gate_SI: Tensor, up_SI: Tensor, silu_SI: Tensor) -> Tensor:
    """The gradient ``[d g | d u]`` of ``h = silu(g) u``; ``g_h_SI`` is used up."""
    g_gate_up_SJ = g_h_SI.new_empty(g_h_SI.shape[0], 2 * g_h_SI.shape[1])
    g_gate_SI, g_up_SI = g_gate_up_SJ.chunk(2, dim=-1)
    torch.mul(g_h_SI, silu_SI, out=g_up_SI)
    torch.ops.aten.silu_backward.grad_input(g_h_SI.mul_(up_SI), gate_SI, grad_input=g_gate_SI)
    return g_gate_up_SJ


def _sort_by_expert(expert_index_TK: Tensor, num_experts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows by expert, tokens in order within one, and nothing of size E x S.

    Returns:
        order_S: place in the flat index of each sorted row.
        row_TK: sorted row of each place; the inverse.
        ends_E: int32, one past each expert's last row.
    """
    sorted_S, order_S = torch.sort(expert_index_TK.reshape(-1), stable=True)
    row_S = torch.empty_like(order_S)
    row_S[order_S] = torch.arange(order_S.numel(), device=order_S.device)
    experts_E = torch.arange(num_experts, device=order_S.device, dtype=sorted_S.dtype)
    ends_E = torch.searchsorted(sorted_S, experts_E, right=True, out_int32=True)
    if sorted_S.device.type == "cpu" and sorted_S.numel() and not 0 <= int(sorted_S[0]) <= int(sorted_S[-1]) < num_experts:
        raise InvalidArgument(
            f"an expert index should be in [0, {num_experts}), and they go from {int(sorted_S[0])} to {int(sorted_S[-1])}"
        )
    return order_S, row_S.view(expert_index_TK.shape), ends_E


def _has_grouped_mm(a: Tensor, b: Tensor) -> bool:
    """Whether one call multiplies all groups, for these dtypes on this device, and with rows that begin at multiples of 16 bytes."""
    if torch.__version__ < "2.10" or not (_is_aligned(a) and _is_aligned(b)):
        return False
    if a.is_cuda:
        return a.dtype == torch.bfloat16 and torch.cuda.get_device_capability(a.device) >= (8, 0)
    return a.device.type == "cpu" and a.dtype in (torch.float32, torch.bfloat16, torch.float16)


def _is_aligned(t: Tensor) -> bool:
    *outer, a, b = t.stride()
    steps = (*outer, max(a, b))  # where both are 1, as of a single column, one of them is such a step and no multiple
    return t.numel() > 0 and t.data_ptr() % 16 == 0 and min(a, b) == 1 and all(s * t.element_size() % 16 == 0 for s in steps)


def _group_sizes(ends_E: Tensor) -> list[int]:
    """On the host; from a GPU this waits."""
    ends = ends_E.tolist()
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def _multiply_rows(a_SA: Tensor, weight_EAB: Tensor, ends_E: Tensor) -> Tensor:
    """``[S, B]``: each row times its expert's matrix."""
    if _has_grouped_mm(a_SA, weight_EAB):
        return torch.nn.functional.grouped_mm(a_SA, weight_EAB, offs=ends_E)
    product_SB = a_SA.new_empty(a_SA.shape[0], weight_EAB.shape[2])
    sizes = _group_sizes(ends_E)
    for a_nA, weight_AB, product_nB in zip(
        a_SA.split_with_sizes(sizes), weight_EAB.unbind(), product_SB.split_with_sizes(sizes), strict=True
    ):
        torch.mm(a_nA, weight_AB, out=product_nB)
    return product_SB


def _multiply_groups(a_SA: Tensor, b_SB: Tensor, ends_E: Tensor) -> Tensor:
    """``[E, A, B]``: the sum over each expert's rows of ``a^T b``, zeros for an expert without rows."""
    if a_SA.is_cuda and _has_grouped_mm(a_SA, b_SB):
        product_EAB = torch.nn.functional.grouped_mm(a_SA.T, b_SB, offs=ends_E)
        if torch.cuda.get_device_capability(a_SA.device) >= (10, 0):
            # On Blackwell a group without rows is left unwritten (pytorch issue 172439).
            is_empty_E = ends_E.diff(prepend=ends_E.new_zeros(1)) == 0
            product_EAB.masked_fill_(is_empty_E[:, None, None], 0.0)
        return product_EAB
    # On the CPU the same call makes the same products, but into memory of its own, page by page.
    product_EAB = _huge_page.empty((ends_E.shape[0], a_SA.shape[1], b_SB.shape[1]), a_SA.dtype, a_SA.device)
    sizes = _group_sizes(ends_E)
    for a_nA, b_nB, product_AB in zip(a_SA.split_with_sizes(sizes), b_SB.split_with_sizes(sizes), product_EAB.unbind(), strict=True):
        torch.mm(a_nA.T, b_nB, out=product_AB)
    return product_EAB
