import pytest
import torch

import twinkle

# Two sequences, the second one token long: p = 1/2, 1/4 and 1/8.
LABELS = torch.tensor([[7, 7], [7, -100]])
LOGPS = torch.tensor([[0.5, 0.25], [0.125, 0.9]]).log().requires_grad_()


def test_focal_loss_weighs_each_token_by_its_doubt():
    out = twinkle.build("loss", "focal", gamma=1.0)({"labels": LABELS}, {"logps": LOGPS})
    by_hand = (1 / 2 * 1 + 3 / 4 * 2 + 7 / 8 * 3) * 0.6931472  # -log2 p = 1, 2, 3
    assert out["loss"].item() == pytest.approx(by_hand, rel=1e-6)
    assert out["num_tokens"] == 3


def test_a_focal_loss_with_gamma_zero_is_cross_entropy():
    out = twinkle.build("loss", "focal", gamma=0.0)({"labels": LABELS}, {"logps": LOGPS})
    reference = twinkle.build("loss", "cross_entropy", reduction="sum")({"labels": LABELS}, {"logps": LOGPS})
    torch.testing.assert_close(out["loss"], reference["loss"])


def test_bits_are_counted_over_all_batches():
    metric = twinkle.build("metric", "bits_per_token")
    assert metric.calculate() == {}
    for row in (0, 1):
        metric.accumulate({"labels": LABELS[row]}, {"logps": LOGPS[row]})
    assert metric.calculate() == {"bits_per_token": pytest.approx(2.0)}


def test_the_shorter_answer_wins():
    judge = twinkle.build("judge", "shorter", margin=1)
    assert [judge.compare("no", other) for other in ("nope", "not", "")] == [1, 0, -1]
