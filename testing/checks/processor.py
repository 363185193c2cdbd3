"""What a batch processor keeps: every token of every sample, in order, and no label that was not there."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twinkle.core.types import IGNORE_INDEX
from twinkle.testing.check import check, expect
from twinkle.testing.specimen import Specimen

if TYPE_CHECKING:
    from torch import Tensor


def _features() -> list[dict[str, Any]]:
    """Encoded samples of several lengths, as a template gives them."""
    features = []
    for index, length in enumerate((5, 3, 8)):
        ids = [10 * (index + 1) + i for i in range(length)]
        labels = [IGNORE_INDEX if i < 1 else ids[i + 1] for i in range(length - 1)] + [IGNORE_INDEX]
        features.append(
            {"input_ids": ids, "labels": labels, "position_ids": list(range(length)), "attention_mask": [1] * length, "length": length}
        )
    return features


def _sequences(batch: Mapping[str, Any], name: str) -> list[list[int]]:
    """The column ``name`` of each sequence of a padded or flat batch, without padding."""
    values: Tensor = batch[name]
    if batch.get("cu_seqlens") is not None:
        bounds = batch["cu_seqlens"].tolist()
        return [values[0, begin:end].tolist() for begin, end in itertools.pairwise(bounds)]
    mask = batch["attention_mask"].bool()
    return [row[is_token].tolist() for row, is_token in zip(values, mask, strict=True)]


def _same_columns(batch: Mapping[str, Any], features: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    for name in names:
        found, expected = _sequences(batch, name), [feature[name] for feature in features]
        expect(found == expected, f"{name}: {found} instead of {expected}")


@check("processor")
def keeps_every_token(component: Specimen) -> None:
    """The tokens of each sample come out whole and in order, and so do their positions and labels."""
    features = _features()
    _same_columns(component.build()(copy.deepcopy(features)), features, ("input_ids", "position_ids", "labels"))


@check("processor")
def trains_no_padding(component: Specimen) -> None:
    """A batch has as many labels as its samples: padding is never trained."""
    features = _features()
    labels = component.build()(copy.deepcopy(features))["labels"]
    found, expected = int((labels != IGNORE_INDEX).sum()), sum(label != IGNORE_INDEX for f in features for label in f["labels"])
    expect(found == expected, f"{found} labels instead of {expected}")


@check("processor")
def takes_a_single_sample(component: Specimen) -> None:
    """A batch of one sample works."""
    features = _features()[:1]
    _same_columns(component.build()(copy.deepcopy(features)), features, ("input_ids", "labels"))


@check("processor")
def leaves_the_samples(component: Specimen) -> None:
    """The samples that come in stay as they are: the next epoch gets them again."""
    features = _features()
    component.build()(features)
    expect(features == _features(), "a sample is another one afterwards")


CHECKS = (keeps_every_token, trains_no_padding, takes_a_single_sample, leaves_the_samples)
