"""The check of the head's benchmark on a small head: naive on labelled tokens gives what whole logits give, and a wrong label is found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.bench import OURS
from benchmarks.head_workload import IGNORED, HeadWorkload
from benchmarks.linear_ce_logprob import LABELLED_ONLY, _check, _labelled_only

WORKLOAD = HeadWorkload(kind="loss", num_tokens=16, hidden_size=8, dtype="float32", masked_share=0.7)


@pytest.mark.parametrize("name", [OURS, LABELLED_ONLY])
def test_labelled_tokens_alone_give_the_loss_and_gradient_of_all(name: str) -> None:
    _check(WORKLOAD, WORKLOAD.operands(), {name: _labelled_only(WORKLOAD)}, {})


@pytest.mark.parametrize("name", [OURS, LABELLED_ONLY])
def test_one_wrong_label_is_found(name: str) -> None:
    def wrong(hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> list[Tensor]:
        changed_T = labels_T.clone()
        changed_T[int((labels_T != IGNORED).nonzero()[0])] += 1
        return _labelled_only(WORKLOAD)(hidden_TH, weight_VH, changed_T)

    with pytest.raises(AssertionError, match=name):
        _check(WORKLOAD, WORKLOAD.operands(), {name: wrong}, {})


def test_masked_tokens_have_no_gradient() -> None:
    operands = WORKLOAD.operands()
    _, gradient_TH = WORKLOAD.run(_labelled_only(WORKLOAD), operands)
    assert torch.equal(gradient_TH.abs().sum(-1) > 0, operands[2] != IGNORED)
