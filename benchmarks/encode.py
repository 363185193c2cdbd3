"""Chat rows to token ids and labels: the template alone beside the bare tokenizer, and a whole data set beside what others do with it.

``encode_batch`` is the floor of the template: it gets the texts rendered and makes no labels. ``map`` is that of the package datasets with
transformers' ``apply_chat_template``, a row at a time as its documents show; "map, batched" hands it a thousand rows at once. Neither makes
labels. Text is the help of Python itself, in prose and code; the tokenizer is Qwen3's own.

Before they encode anything, both others hash the tokenizer, for a cache: as long as a thousand short rows take. Of rows in memory nobody
keeps a result, so there they are told a fingerprint, and a few rows show what many would; the case of one row in memory shows what a call
costs as it is usually written. Rows in files are encoded with the caches that each has by default, which are emptied before each call: all
sides then hash their tokenizer, ours too, and write what they made.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from shutil import rmtree
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import datasets

from benchmarks.bench import OURS, Case, Count, Goal, Size, Variant, Work, timed
from benchmarks.sidecar import SideCar, peer_folder
from tests.qwen_tokenizer_folder import QWEN3_TEMPLATE, make_qwen_tokenizer
from twinkle.core.runtime.context import ProcessContext, current, use_context
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
MAP, BATCHED = "map", "map, batched"


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
        yield from file_case("data set, 1 row in a file", template, ONE_ROW)
        for num_turns, num_characters, num_rows in SHAPES[size]:
            rows = make_rows(num_turns, num_characters, num_rows)
            tokens = sum(feature["length"] for feature in template.batch_encode(rows))
            name = f"{num_turns} turn{'s' * (num_turns > 1)}, {tokens // len(rows)} tokens a row"
            yield template_case(name, template, rows, tokens)
            give(kit, rows, folder, new_fingerprint="encoded")
            yield dataset_case(name, template, rows, tokens, kit, KIT_GOALS[num_turns])
            if num_turns == 1:
                yield from file_case(f"data set in a file, {name}", template, rows)


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


ONE_ROW = make_rows(1, 100, 1)


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
    copied = SimpleNamespace(current=lambda: counted)
    vars(encoder).update(tokenizer=counted, _bare=copied, _untrimmed=copied)
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

    def encode_batch(self, texts: list[str], **options: Any) -> Any:
        self.num_texts += len(texts)
        return self.tokenizer.encode_batch(texts, **options)


def give(kit: SideCar | None, rows: Sequence[Any], folder: Path, new_fingerprint: str | None) -> None:
    """Has twinkle-kit read ``rows``, which it will encode under ``new_fingerprint``."""
    if kit is not None:
        (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
        kit.call("read", path=str(folder / "rows.json"), new_fingerprint=new_fingerprint)


def call_case(template: Template, kit: SideCar | None, folder: Path) -> Case:
    """One row, so that all is what a call costs whatever the rows."""
    source = datasets.Dataset.from_list(ONE_ROW)
    give(kit, ONE_ROW, folder, new_fingerprint=None)
    ways = {
        MAP: lambda: mapped(source, template.tokenizer, new_fingerprint=None),
        BATCHED: lambda: mapped(source, template.tokenizer, new_fingerprint=None, batched=True),
    }
    variants: dict[str, Variant] = {
        OURS: timed(lambda: encoded_by_us(source, template)),
        **{way: timed(call) for way, call in ways.items()},
    }
    if kit is not None:
        variants["twinkle-kit"] = kit.step
    return Case(
        name="data set, 1 row in memory",
        variants=variants,
        check=lambda: check_features(list(encoded_by_us(source, template)), ONE_ROW, template.tokenizer, ways, kit),
    )


def encoded_by_us(source: datasets.Dataset, template: Template) -> Dataset:
    """``source`` with features."""
    encoded = Dataset(DatasetMeta(data=source))
    encoded.set_template(template)
    encoded.encode()
    return encoded


def ids_by_transformers(tokenizer: Any) -> Callable[[Mapping[str, Any]], Any]:
    """A row to its ids; or columns of many rows to columns of ids."""

    def encode(rows: Mapping[str, Any]) -> Any:
        return tokenizer.apply_chat_template(rows["messages"], return_dict=True)

    return encode


def mapped(source: datasets.Dataset, tokenizer: Any, new_fingerprint: str | None, *, batched: bool = False) -> datasets.Dataset:
    """``source`` with ids, which are not kept."""
    return source.map(ids_by_transformers(tokenizer), batched=batched, load_from_cache_file=False, new_fingerprint=new_fingerprint)


def dataset_case(name: str, template: Template, rows: Sequence[Any], tokens: int, kit: SideCar | None, kit_goal: float) -> Case:
    """A data set in memory to one with features, columns written to Arrow on every side."""
    source = datasets.Dataset.from_list(list(rows))
    ways = {
        MAP: lambda: mapped(source, template.tokenizer, new_fingerprint="encoded"),
        BATCHED: lambda: mapped(source, template.tokenizer, new_fingerprint="encoded", batched=True),
    }
    variants: dict[str, Variant] = {
        OURS: timed(lambda: encoded_by_us(source, template)),
        **{way: timed(call) for way, call in ways.items()},
    }
    if kit is not None:
        variants["twinkle-kit"] = kit.step
    return Case(
        name=f"data set, {name}",
        variants=variants,
        check=lambda: check_features(list(encoded_by_us(source, template)), rows, template.tokenizer, ways, kit),
        goals=[Goal(peer=MAP, at_least=1.3), Goal(peer="twinkle-kit", at_least=kit_goal)],
        work=Work(tokens=tokens),
    )


class SavedRows:
    """Rows in a file, and what was made of them there: by ``datasets`` beside the file, by ours in a home of its own."""

    def __init__(self, folder: Path, rows: Sequence[Any]) -> None:
        datasets.Dataset.from_list(list(rows)).save_to_disk(folder / "rows")
        self.source = datasets.load_from_disk(folder / "rows")
        self._home = folder / "home"
        self._context = ProcessContext.fresh(replace(current().settings, home=self._home))

    def encoded_by_us(self, template: Template) -> Dataset:
        """With features, by defaults."""
        with use_context(self._context):
            return encoded_by_us(self.source, template)

    def mapped(self, tokenizer: Any, *, batched: bool) -> datasets.Dataset:
        """With ids, by defaults."""
        return self.source.map(ids_by_transformers(tokenizer), batched=batched)

    @property
    def kept(self) -> list[Path]:
        """Files with results."""
        beside = Path(self.source.cache_files[0]["filename"]).parent.glob("cache-*")
        return sorted([*beside, *self._home.rglob("*.arrow")])

    def forget(self) -> None:
        """So that the next call encodes."""
        self.source.cleanup_cache_files()
        if self._home.exists():
            rmtree(self._home)

    def afresh(self, call: Callable[[], object]) -> Variant:
        """``call`` as a variant that finds nothing kept."""

        def run() -> float:
            self.forget()
            return timed(call)()

        return run


def file_case(name: str, template: Template, rows: Sequence[Any]) -> Iterator[Case]:
    """Rows of ``save_to_disk`` with what each side does by default, results kept in files."""
    with TemporaryDirectory() as scratch:
        saved = SavedRows(Path(scratch), rows)
        ways = {
            MAP: lambda: saved.mapped(template.tokenizer, batched=False),
            BATCHED: lambda: saved.mapped(template.tokenizer, batched=True),
        }

        everyone: dict[str, Callable[[], object]] = {OURS: lambda: saved.encoded_by_us(template), **ways}

        def check() -> None:
            for call in everyone.values():
                saved.forget()
                assert not saved.kept, f"a call would be answered by {saved.kept}"
                call()
                assert len(saved.kept) == 1, f"a result is kept by default, got {saved.kept}"
            check_features(list(saved.encoded_by_us(template)), rows, template.tokenizer, ways, None)

        yield Case(name=name, variants={way: saved.afresh(call) for way, call in everyone.items()}, check=check)


def check_features(
    features: Sequence[Mapping[str, Any]],
    rows: Sequence[Any],
    tokenizer: Any,
    ways: Mapping[str, Callable[[], datasets.Dataset]],
    kit: SideCar | None,
) -> None:
    """Ids are those of each of ``ways``, labels those of transformers' mask, and twinkle-kit's are those of :func:`check_kit`."""
    ids = [list(feature["input_ids"]) for feature in features]
    for way, call in ways.items():
        assert call()["input_ids"][:] == ids, f"ours and {way} give different ids"
    labels = [labels_by_transformers(row["messages"], tokenizer) for row in rows]
    assert [feature["labels"] for feature in features] == labels, "ours and transformers' mask of the assistant give different labels"
    if kit is not None:
        check_kit(kit, features[:2])


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
