"""Rows in files as the encoding benchmark has them: each side keeps a result by default, and none is found by a call that is timed."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from benchmarks.encode import ONE_ROW, SavedRows


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Of one word, which every text becomes."""
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?")), unk_token="?")
    made.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    return made


@pytest.mark.parametrize("batched", [False, True])
def test_a_timed_call_finds_nothing_that_an_earlier_one_kept(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, batched: bool) -> None:
    datasets.disable_progress_bars()
    saved = SavedRows(tmp_path, ONE_ROW)
    assert not saved.kept
    assert saved.mapped(tokenizer, batched=batched)["input_ids"][:] == [[0]]
    assert len(saved.kept) == 1
    seen: list[list[Path]] = []
    for _ in range(2):
        saved.afresh(lambda: seen.append(saved.kept))()
    assert seen == [[], []]
    datasets.enable_progress_bars()


def test_results_of_ours_are_forgotten_too(tmp_path: Path) -> None:
    saved = SavedRows(tmp_path, ONE_ROW)
    kept = tmp_path / "home" / "datasets" / "steps" / "result.arrow"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert saved.kept == [kept]
    saved.forget()
    assert saved.kept == []
