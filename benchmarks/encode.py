"""Chat rows to token ids and labels: the template alone beside the bare tokenizer, and a whole data set beside what others do with it.

``encode_batch`` is the floor of the template: it gets the texts rendered and makes no labels. ``map`` is that of the package datasets with
transformers' ``apply_chat_template``, a row at a time as its documents show, and makes no labels either. Text is the help of Python
itself, in prose and code; the tokenizer is Qwen3's own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from pydoc_data.topics import topics
from tempfile import TemporaryDirectory
from typing import Any

import datasets

from benchmarks.bench import OURS, Case, Count, Goal, Size, Variant, Work, timed
from benchmarks.sidecar import SideCar, peer_folder
from tests.qwen_tokenizer_folder import make_qwen_tokenizer
from twinkle.dataset import Dataset, DatasetMeta
from twinkle.template import Template

Row = Mapping[str, Any]

TURNS: dict[Size, tuple[tuple[int, int], ...]] = {"quick": ((1, 1400), (10, 1400)), "full": ((1, 400), (1, 1400), (4, 1400), (10, 1400))}
"""Questions of a row, and the characters of each question and answer."""
CHARACTERS: dict[Size, int] = {"quick": 80_000, "full": 400_000}
"""Of all rows of a case; four to a token, about."""
KIT_GOALS = {1: 4.0, 4: 4.0, 10: 12.0}
"""Times as fast as twinkle-kit, by turns: it encodes 1 + 2 k prefixes of a row with k turns."""


def cases(size: Size) -> Iterator[Case]:
    """For each shape of row the template, then the data set."""
    with ExitStack() as stack:
        folder = make_qwen_tokenizer(Path(stack.enter_context(TemporaryDirectory())))
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen3"}), encoding="utf-8")  # twinkle-kit reads one
        template = Template(folder, max_length=None)
        kit = None
        if (packages := peer_folder("twinkle-kit")) is not None:
            kit = stack.enter_context(SideCar("twinkle_kit_encode", packages))
            kit.call("load", folder=str(folder))
        for num_turns, num_characters in TURNS[size]:
            rows = make_rows(num_turns, num_characters, num_rows=max(2, CHARACTERS[size] // (2 * num_turns * num_characters)))
            tokens = sum(feature["length"] for feature in template.batch_encode(rows))
            name = f"{num_turns} turn{'s' * (num_turns > 1)}, {tokens // len(rows)} tokens a row"
            yield template_case(name, template, rows, tokens)
            if kit is not None:
                (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
                kit.call("read", path=str(folder / "rows.json"))
            yield dataset_case(name, template, rows, tokens, kit, KIT_GOALS[num_turns])


def make_rows(num_turns: int, num_characters: int, num_rows: int) -> list[Any]:
    """Conversations of ``num_turns`` questions and answers."""
    prose = "\n".join(topics.values())
    rng = random.Random(0)

    def piece() -> str:
        start = rng.randrange(len(prose) - num_characters)
        return prose[start : start + num_characters].strip()

    system = {"role": "system", "content": "You are a helpful assistant."}
    turns = [[{"role": role, "content": piece()} for _ in range(num_turns) for role in ("user", "assistant")] for _ in range(num_rows)]
    return [{"messages": [system, *messages]} for messages in turns]


def template_case(name: str, template: Template, rows: Sequence[Any], tokens: int) -> Case:
    """Rows to features, beside texts to ids."""
    tokenizer = template.tokenizer
    texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows]

    def encode_batch() -> list[Any]:
        return list(tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False))

    def check() -> None:
        for feature, encoding in zip(template.batch_encode(rows), encode_batch(), strict=True):
            assert feature["input_ids"] == encoding.ids, "ours and the tokenizer give different ids"

    return Case(
        name=f"template, {name}",
        variants={OURS: timed(lambda: template.batch_encode(rows)), "encode_batch": timed(encode_batch)},
        check=check,
        goals=[Goal(peer="encode_batch", at_least=1 / 1.3)],
        counts=lambda: [encodes_a_row(template, rows)],
        work=Work(tokens=tokens),
    )


def encodes_a_row(template: Template, rows: Sequence[Any]) -> Count:
    """Texts that the tokenizer encodes for each row."""
    counted = _CountingTokenizer(template._encoder)
    vars(template)["_encoder"] = counted
    try:
        template.batch_encode(rows)
    finally:
        vars(template)["_encoder"] = counted.tokenizer
    return Count(name="texts encoded a row", value=counted.num_texts / len(rows), at_most=1)


class _CountingTokenizer:
    """A tokenizer that counts what it is given."""

    truncation = padding = None

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.num_texts = 0

    def encode_batch(self, texts: list[str], **options: Any) -> Any:
        self.num_texts += len(texts)
        return self.tokenizer.encode_batch(texts, **options)


def dataset_case(name: str, template: Template, rows: Sequence[Any], tokens: int, kit: SideCar | None, kit_goal: float) -> Case:
    """A data set in memory to one with features, columns written to Arrow on every side."""
    source = datasets.Dataset.from_list(list(rows))
    tokenizer = template.tokenizer

    def ours() -> Dataset:
        encoded = Dataset(DatasetMeta(data=source))
        encoded.set_template(template)
        encoded.encode()
        return encoded

    def mapped() -> datasets.Dataset:
        def encode(row: dict[str, Any]) -> Any:
            return tokenizer.apply_chat_template(row["messages"], return_dict=True)

        return source.map(encode, load_from_cache_file=False)

    def check() -> None:
        features = list(ours())
        assert [row["input_ids"] for row in mapped()] == [row["input_ids"] for row in features], "ours and map give different ids"
        if kit is not None:
            theirs = kit.call("first", num_rows=2)
            for column in ("input_ids", "labels"):
                mine = [list(row[column]) for row in features[:2]]
                assert theirs[column] == mine, f"ours and twinkle-kit give different {column}"

    variants: dict[str, Variant] = {OURS: timed(ours), "map": timed(mapped)}
    if kit is not None:
        variants["twinkle-kit"] = kit.step
    return Case(
        name=f"data set, {name}",
        variants=variants,
        check=check,
        goals=[Goal(peer="map", at_least=1.3), Goal(peer="twinkle-kit", at_least=kit_goal)],
        work=Work(tokens=tokens),
    )
