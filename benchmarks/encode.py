"""Chat rows to token ids and labels: the template alone beside the bare tokenizer, and a whole data set beside what others do with it.

``encode_batch`` is the floor of the template: it gets the texts rendered and makes no labels. ``map`` is that of the package datasets with
transformers' ``apply_chat_template``, a row at a time as its documents show, and makes no labels either. Text is the help of Python
itself, in prose and code; the tokenizer is Qwen3's own.

Before they encode anything, both others hash the tokenizer, for a cache that nobody asked for: as long as a thousand short rows take. They
are told a fingerprint, so that a few rows show what many would; the case of one row shows what a call costs as it is usually written.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from pydoc_data.topics import topics
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import datasets

from benchmarks.bench import OURS, Case, Count, Goal, Size, Variant, Work, timed
from benchmarks.sidecar import SideCar, peer_folder
from tests.qwen_tokenizer_folder import QWEN3_TEMPLATE, make_qwen_tokenizer
from twinkle.core.types import IGNORE_INDEX
from twinkle.dataset import Dataset, DatasetMeta
from twinkle.template import Template

Row = Mapping[str, Any]

SHAPES: dict[Size, tuple[tuple[int, int, int], ...]] = {
    "quick": ((1, 1400, 100), (10, 400, 40)),
    "full": ((1, 400, 400), (1, 1400, 150), (4, 1400, 40), (10, 400, 50), (10, 1400, 15)),
}
"""Questions of a row, characters of each question and answer (four to a token, about), and rows."""
KIT_GOALS = {1: 4.0, 4: 4.0, 10: 12.0}
"""Times as fast as twinkle-kit, by turns: it encodes 1 + 2 k prefixes of a row with k turns."""


def cases(size: Size) -> Iterator[Case]:
    """For each shape of row the template, then the data set."""
    with ExitStack() as stack:
        datasets.disable_progress_bars()
        stack.callback(datasets.enable_progress_bars)
        folder = make_qwen_tokenizer(Path(stack.enter_context(TemporaryDirectory())))
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen3"}), encoding="utf-8")  # twinkle-kit reads one
        template = Template(folder, max_length=None)
        kit = None
        if (packages := peer_folder("twinkle-kit")) is not None:
            kit = stack.enter_context(SideCar("twinkle_kit_encode", packages))
            kit.call("load", folder=str(folder))
        yield call_case(template, kit, folder)
        for num_turns, num_characters, num_rows in SHAPES[size]:
            rows = make_rows(num_turns, num_characters, num_rows)
            tokens = sum(feature["length"] for feature in template.batch_encode(rows))
            name = f"{num_turns} turn{'s' * (num_turns > 1)}, {tokens // len(rows)} tokens a row"
            yield template_case(name, template, rows, tokens)
            give(kit, rows, folder, new_fingerprint="encoded")
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
    encoder = template._encoder
    counted = _CountingTokenizer(encoder.tokenizer)
    kept = dict(vars(encoder))
    vars(encoder).update(tokenizer=counted, _bare=SimpleNamespace(current=lambda: counted))
    try:
        template.batch_encode(rows)
    finally:
        vars(encoder).update(kept)
    return Count(name="texts encoded a row", value=counted.num_texts / len(rows), at_most=1)


class _CountingTokenizer:
    """A tokenizer that counts what it is given."""

    truncation = padding = None

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.num_texts = 0

    def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
        self.num_texts += len(texts)
        return self.tokenizer.encode_batch_fast(texts, **options)


def give(kit: SideCar | None, rows: Sequence[Any], folder: Path, new_fingerprint: str | None) -> None:
    """Has twinkle-kit read ``rows``, which it will encode under ``new_fingerprint``."""
    if kit is not None:
        (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
        kit.call("read", path=str(folder / "rows.json"), new_fingerprint=new_fingerprint)


def call_case(template: Template, kit: SideCar | None, folder: Path) -> Case:
    """One row, so that all is what a call costs whatever the rows."""
    rows = make_rows(1, 100, 1)
    source = datasets.Dataset.from_list(rows)
    give(kit, rows, folder, new_fingerprint=None)
    variants: dict[str, Variant] = {
        OURS: timed(lambda: encoded_by_us(source, template)),
        "map": timed(lambda: mapped(source, template.tokenizer, new_fingerprint=None)),
    }
    if kit is not None:
        variants["twinkle-kit"] = kit.step
    return Case(name="data set, 1 row as usually written", variants=variants, check=lambda: None)


def encoded_by_us(source: datasets.Dataset, template: Template) -> Dataset:
    """``source`` with features."""
    encoded = Dataset(DatasetMeta(data=source))
    encoded.set_template(template)
    encoded.encode()
    return encoded


def mapped(source: datasets.Dataset, tokenizer: Any, new_fingerprint: str | None) -> datasets.Dataset:
    """``source`` with ids."""

    def encode(row: dict[str, Any]) -> Any:
        return tokenizer.apply_chat_template(row["messages"], return_dict=True)

    return source.map(encode, load_from_cache_file=False, new_fingerprint=new_fingerprint)


def dataset_case(name: str, template: Template, rows: Sequence[Any], tokens: int, kit: SideCar | None, kit_goal: float) -> Case:
    """A data set in memory to one with features, columns written to Arrow on every side."""
    source = datasets.Dataset.from_list(list(rows))
    tokenizer = template.tokenizer

    def check() -> None:
        features = list(encoded_by_us(source, template))
        theirs = mapped(source, tokenizer, new_fingerprint="encoded")
        assert theirs["input_ids"] == [row["input_ids"] for row in features], "ours and map give different ids"
        labels = [labels_by_transformers(row["messages"], tokenizer) for row in rows]
        assert [row["labels"] for row in features] == labels, "ours and transformers' mask of the assistant give different labels"
        if kit is not None:
            check_kit(kit, features[:2])

    variants: dict[str, Variant] = {
        OURS: timed(lambda: encoded_by_us(source, template)),
        "map": timed(lambda: mapped(source, tokenizer, new_fingerprint="encoded")),
    }
    if kit is not None:
        variants["twinkle-kit"] = kit.step
    return Case(
        name=f"data set, {name}",
        variants=variants,
        check=check,
        goals=[Goal(peer="map", at_least=1.3), Goal(peer="twinkle-kit", at_least=kit_goal)],
        work=Work(tokens=tokens),
    )


def labels_by_transformers(messages: Sequence[Any], tokenizer: Any) -> list[int]:
    """Labels by the mask that transformers makes where a template says what the assistant generates."""
    encoded = tokenizer.apply_chat_template(
        messages, chat_template=generation_template(), return_dict=True, return_assistant_tokens_mask=True
    )
    trained = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    labels = [token if is_trained else IGNORE_INDEX for token, is_trained in trained]
    return [*labels[1:], IGNORE_INDEX]


def generation_template() -> str:
    """Qwen3's chat template, in which all of an answer but its header is marked as generated; it writes the same text."""
    header = "'<|im_start|>' + message.role + '\\n"
    before, assistant, after = re.split(
        r'(?<={%- elif message.role == "assistant" %})|(?={%- elif message.role == "tool" %})', QWEN3_TEMPLATE.read_text()
    )
    assert assistant.count(header) == 3
    assistant = assistant.replace(f"{header}' + ", "").replace(header, "'")
    return f"{before}{{{{- {header}' }}}}{{% generation %}}{assistant}{{%- endgeneration %}}{after}"


def check_kit(kit: SideCar, features: Sequence[Mapping[str, Any]]) -> None:
    """That twinkle-kit makes the same ids, and labels that are ours where we have one.

    It has more of them: where a turn ends it takes from the length of the conversation cut off there, and into the last answer Qwen3's
    template writes an empty thought, so that of each turn but the last it trains the 4 tokens that follow, which are the user's.
    """
    theirs = kit.call("first", num_rows=len(features))
    for feature, ids, labels in zip(features, theirs["input_ids"], theirs["labels"], strict=True):
        assert ids == feature["input_ids"], "ours and twinkle-kit give different ids"
        both = list(zip(feature["labels"], labels, strict=True))
        assert all(theirs == mine for mine, theirs in both if mine != IGNORE_INDEX), "twinkle-kit does not train what we train"
        num_turns = sum(message["role"] == "assistant" for message in feature["messages"])
        assert sum(mine != theirs for mine, theirs in both) <= 4 * (num_turns - 1), "twinkle-kit trains more than the tokens after a turn"
