"""The template for text: conversations to token ids and shifted labels, and back."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple, Unpack, cast, overload

from twinkle.core.errors import InvalidArgument, InvalidConfig, InvalidData
from twinkle.core.suggestion import did_you_mean
from twinkle.core.types import IGNORE_INDEX, InputFeature, Trajectory
from twinkle.plugins_builtin.template._chat_format import ChatFormat
from twinkle.plugins_builtin.template._conversation import excerpt, is_empty_turn, normal_messages, normal_tools
from twinkle.plugins_builtin.template._encoder import Encoder, Tokens
from twinkle.plugins_builtin.template._fingerprint import encoding_fingerprint
from twinkle.plugins_builtin.template._label import Span, shifted_labels
from twinkle.plugins_builtin.template._tokenizer import TokenizerKeywords, load_tokenizer, rust_tokenizer
from twinkle.plugins_builtin.template._tool_call import parse_tool_calls
from twinkle.plugins_builtin.template._truncation import STRATEGIES, TruncationStrategy

_FEATURE_COLUMNS = ("input_ids", "attention_mask", "position_ids", "labels", "length")
_MEDIA_COLUMNS = ("images", "videos", "audios")
Row = Mapping[str, Any]
Feature = dict[str, Any]


class _Sample(NamedTuple):
    """What one call of the tokenizer needs to know of a trajectory."""

    column: str | None
    """Where the trajectory stands in its row; None where the row is the trajectory."""
    trajectory: Row
    text: str
    trained: list[Span] | None
    """Spans of characters; None is all of the text."""


class Template:
    """Renders a conversation once with the model's chat template, encodes it once, and takes the labels from character offsets.

    Trained is what the assistant says in every turn, with its end-of-turn token and the newline after it. Labels are shifted:
    ``labels[i]`` is the token that position i predicts, -100 where nothing is trained; the last is -100.

    Args:
        model_id: a local folder or ``[scheme://]owner/name[@revision]``; only tokenizer files are fetched, and no code of theirs is run.
        use_chat_template: False is pretraining: the text of a row (``text``, or its single user message) is encoded as the tokenizer
            does by itself, and every token but the first is a label.
        max_length: the most tokens of a sample; None for no bound.
        truncation_strategy: what becomes of a longer sample: an error (``raise``), its last (``left``) or first (``right``)
            ``max_length`` tokens, several samples (``split``), none (``delete``).
        default_system: the system turn of conversations that have none.
        enable_thinking: handed to the chat template under this name.
        append_eos: in pretraining, ends each text with the end-of-sequence token unless it ends so.
        tokenizer_keywords: for ``AutoTokenizer.from_pretrained``, such as ``chat_template`` or ``pad_token``.

    Raises:
        InvalidConfig: a setting that cannot work, or files that hold no tokenizer.
        InvalidArgument: a keyword that a tokenizer does not take, or a ``max_length`` that is no whole number.
    """

    is_mm = False
    """This template handles text alone."""

    def __init__(
        self,
        model_id: str | Path,
        use_chat_template: bool = True,
        max_length: int | None = 8192,
        truncation_strategy: TruncationStrategy = "raise",
        default_system: str | None = None,
        enable_thinking: bool = True,
        append_eos: bool = False,
        **tokenizer_keywords: Unpack[TokenizerKeywords],
    ) -> None:
        if truncation_strategy not in STRATEGIES:
            raise InvalidConfig(f"there is no truncation_strategy {truncation_strategy!r}.{did_you_mean(truncation_strategy, STRATEGIES)}")
        given: object = max_length
        if given is not None and (isinstance(given, bool) or not isinstance(given, Integral)):
            raise InvalidArgument(f"max_length: expected a whole number of tokens, or None for no bound, got {given!r}")
        if max_length is not None and max_length < 1:
            raise InvalidConfig(f"max_length={max_length!r}: expected 1 or more, or None for no bound")
        self.model_id = str(model_id)
        self.use_chat_template = use_chat_template
        self.max_length = None if max_length is None else int(max_length)
        self.truncation_strategy = truncation_strategy
        self.default_system = default_system
        self.enable_thinking = enable_thinking
        self.append_eos = append_eos
        self.tokenizer = load_tokenizer(model_id, tokenizer_keywords)
        self.processor = self.tokenizer
        self._formats: dict[str, ChatFormat] = {}
        self._sample_columns = ("messages",) if use_chat_template else ("text", "messages")
        """Any of these makes a row, or a column of a row, a trajectory."""

    # Encoding

    def encode(self, trajectory: Trajectory, add_generation_prompt: bool = False) -> InputFeature:
        """The feature of one row; the row's other columns travel along. See :meth:`batch_encode`.

        Raises:
            InvalidArgument: several rows, or no row at all.
            InvalidData: a row that cannot be encoded, or that the truncation strategy makes into several or none.
        """
        given: object = trajectory
        if not isinstance(given, Mapping):
            raise InvalidArgument(
                f"encode: expected one row, a mapping with {self._expected_columns}, got {type(given).__name__}; batch_encode takes several"
            )
        features = self.batch_encode([trajectory], add_generation_prompt)
        if len(features) != 1:
            raise InvalidData(
                f"truncation_strategy={self.truncation_strategy!r} makes {len(features)} samples of this row, where encode gives one: "
                "call batch_encode, which gives a list"
            )
        return features[0]

    @overload
    def batch_encode(self, trajectories: Sequence[Trajectory], add_generation_prompt: bool = False) -> list[InputFeature]: ...
    @overload
    def batch_encode(self, trajectories: Mapping[str, Sequence[Any]], add_generation_prompt: bool = False) -> dict[str, list[Any]]: ...
    def batch_encode(
        self, trajectories: Sequence[Trajectory] | Mapping[str, Sequence[Any]], add_generation_prompt: bool = False
    ) -> list[InputFeature] | dict[str, list[Any]]:
        """Features of rows with one call of the tokenizer: a list gives a list, columns give columns.

        A row has ``messages`` (and ``tools``), ``text`` in pretraining, or trajectories as columns (``positive`` and ``negative`` of a
        preference pair), each of which gets a feature of its own. With ``add_generation_prompt`` the assistant's header follows and
        nothing is trained; an empty last turn of the assistant gives way to it.

        A list's features carry all columns of their row. Columns out are the features' alone, the input's being there already; only
        where ``split`` or ``delete`` changed the number of rows do the input's columns come along, repeated to match.

        Raises:
            InvalidData: a row that cannot be encoded; the message names it.
        """
        if isinstance(trajectories, Mapping):
            return self._encode_columns(trajectories, add_generation_prompt)
        rows = cast("Sequence[Row]", trajectories)
        outcomes = _unless_error(self._encode_rows(rows, add_generation_prompt))
        return [cast(InputFeature, {**row, **feature}) for row, features in zip(rows, outcomes, strict=True) for feature in features]

    def _encode_columns(self, columns: Mapping[str, Sequence[Any]], add_generation_prompt: bool) -> dict[str, list[Any]]:
        outcomes = _unless_error(self._encode_rows(self._rows_of(columns), add_generation_prompt))
        features = [feature for outcome in outcomes for feature in outcome]
        new: Iterable[str] = (
            features[0] if features else (_FEATURE_COLUMNS if any(name in columns for name in self._sample_columns) else ())
        )
        encoded = {name: [feature[name] for feature in features] for name in new}
        if all(len(outcome) == 1 for outcome in outcomes):
            return encoded
        repeated = {name: [v for v, outcome in zip(columns[name], outcomes, strict=True) for _ in outcome] for name in columns}
        return {**repeated, **encoded}

    def _encode_rows(self, rows: Sequence[Row], add_generation_prompt: bool) -> list[list[Feature] | InvalidData]:
        """For each row the columns of the features that it gives, or why it gives none."""
        prepared: list[list[_Sample] | InvalidData] = []
        for index, row in enumerate(rows):
            try:
                prepared.append(self._samples(row, add_generation_prompt))
            except InvalidData as error:
                prepared.append(_named(error, index, len(rows), row))
        try:
            encoded = iter(self._tokens(prepared))
        except (TypeError, UnicodeEncodeError):  # what a tokenizer raises on half a surrogate pair; of anything else it comes again
            for index, samples in enumerate(prepared):
                if not isinstance(samples, InvalidData) and (reason := _no_utf8(samples)) is not None:
                    prepared[index] = _named(reason, index, len(rows), rows[index])
            encoded = iter(self._tokens(prepared))
        outcomes: list[list[Feature] | InvalidData] = []
        for index, samples in enumerate(prepared):
            if isinstance(samples, InvalidData):
                outcomes.append(samples)
                continue
            mine = [next(encoded) for _ in samples]
            try:
                outcomes.append(self._features(samples, mine, add_generation_prompt))
            except InvalidData as error:
                outcomes.append(_named(error, index, len(rows), rows[index]))
        return outcomes

    def _tokens(self, prepared: Sequence[list[_Sample] | InvalidData]) -> list[Tokens]:
        wanted = [sample for samples in prepared if not isinstance(samples, InvalidData) for sample in samples]
        return self._encoder.encode([sample.text for sample in wanted], [sample.trained or [] for sample in wanted])

    def _samples(self, row: Row, add_generation_prompt: bool) -> list[_Sample]:
        """What is to be encoded of a row: itself, or each trajectory among its columns."""
        given: object = row
        if not isinstance(given, Mapping):
            raise InvalidData(f"expected a mapping with {self._expected_columns}, got {type(given).__name__}")
        if any(name in row for name in self._sample_columns):
            return [self._sample(None, row, add_generation_prompt)]
        nested = [
            (name, value) for name, value in row.items() if isinstance(value, Mapping) and not value.keys().isdisjoint(self._sample_columns)
        ]
        if not nested:
            plain = " (plain 'text' is for pretraining, with use_chat_template=False)" if "text" in row else ""
            raise InvalidData(f"a row needs {self._expected_columns}, or columns that have them; this one has {sorted(row)}{plain}")
        if self.truncation_strategy == "split":
            raise InvalidData("truncation_strategy='split' would tear apart the trajectories of a row: choose another for such rows")
        return [self._sample(name, value, add_generation_prompt) for name, value in nested]

    @property
    def _expected_columns(self) -> str:
        return " or ".join(map(repr, self._sample_columns))

    def _sample(self, column: str | None, trajectory: Row, add_generation_prompt: bool) -> _Sample:
        if not self.use_chat_template:
            return _Sample(column, trajectory, _plain_text(trajectory), [] if add_generation_prompt else None)
        for media in _MEDIA_COLUMNS:
            if trajectory.get(media):
                raise InvalidData(f"the row has {media}: this template takes text alone")
        messages = normal_messages(trajectory["messages"], self.default_system)
        tools = normal_tools(trajectory.get("tools"))
        chat_format = self._format(tools)
        chat_format.fit(messages, tools)
        if not add_generation_prompt:
            return _Sample(column, trajectory, *chat_format.render_turns(messages, tools))
        if is_empty_turn(messages[-1]) and len(messages) > 1:
            messages.pop()
        return _Sample(column, trajectory, chat_format.render(messages, tools, add_generation_prompt=True), [])

    def _format(self, tools: list[dict[str, Any]] | None) -> ChatFormat:
        try:
            source = self.tokenizer.get_chat_template(tools=tools)
        except ValueError as error:
            raise InvalidConfig(
                f"the tokenizer of {self.model_id!r} has no chat template: put a chat_template.jinja beside its tokenizer.json, give the "
                "Jinja text with Template(model_id, chat_template=...), or use_chat_template=False for pretraining on plain text"
            ) from error
        if source not in self._formats:
            self._formats[source] = ChatFormat(source, {**self.tokenizer.special_tokens_map, "enable_thinking": self.enable_thinking})
        return self._formats[source]

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(rust_tokenizer(self.tokenizer, self.model_id), add_special_tokens=not self.use_chat_template)

    def _features(self, samples: list[_Sample], encoded: list[Tokens], add_generation_prompt: bool) -> list[Feature]:
        joined: Feature = {}
        for sample, (ids, inside) in zip(samples, encoded, strict=True):
            trained = self._all_of(ids) if sample.trained is None else inside
            pieces = [(ids, trained)]
            if self.max_length is not None and len(ids) > self.max_length:
                if add_generation_prompt and self.truncation_strategy in ("right", "split"):
                    raise InvalidData(
                        f"{len(ids)} tokens are more than max_length={self.max_length}, and truncation_strategy="
                        f"{self.truncation_strategy!r} would cut off the generation prompt: choose 'left' or 'delete' for prompts"
                    )
                pieces = STRATEGIES[self.truncation_strategy](ids, trained, self.max_length)
            if sample.column is None:
                return [_feature(*piece) for piece in pieces]
            if not pieces:
                return []
            joined[sample.column] = {**sample.trajectory, **_feature(*pieces[0])}
        return [joined]

    def _all_of(self, ids: list[int]) -> list[Span]:
        """Every token of a plain text, which is given the special tokens that it lacks and freed of one that it has twice."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if bos is not None and ids[:2] == [bos, bos]:
            del ids[0]
        if self.append_eos and ids[-1:] != [eos]:
            ids.append(eos)
        return [(0, len(ids))]

    def _rows_of(self, columns: Mapping[str, Sequence[Any]]) -> list[Row]:
        """Rows of the columns that encoding reads: asking for others would make a lazy batch decode them."""
        used = [name for name in (*self._sample_columns, "tools", *_MEDIA_COLUMNS) if name in columns]
        if not any(name in columns for name in self._sample_columns):
            used = list(columns)
        return [dict(zip(used, values, strict=True)) for values in zip(*(columns[name] for name in used), strict=True)]

    # Checking

    def check(self, trajectory: Trajectory) -> Trajectory | None:
        """``trajectory``, or None where it cannot be encoded or would be deleted."""
        return self.batch_check([trajectory])[0]

    def batch_check(self, trajectories: Sequence[Trajectory] | Mapping[str, Sequence[Any]]) -> list[Trajectory | None]:
        """The rows (of a list or of columns), None in place of each that cannot be encoded or would be deleted."""
        rows = self._rows_of(trajectories) if isinstance(trajectories, Mapping) else cast("Sequence[Row]", trajectories)
        outcomes = self._encode_rows(rows, add_generation_prompt=False)
        return [
            cast(Trajectory, row) if outcome and not isinstance(outcome, InvalidData) else None
            for row, outcome in zip(rows, outcomes, strict=True)
        ]

    # Decoding

    def fingerprint(self) -> str | None:
        """Settings, tokenizer, chat template and code, on which encoding depends: data sets keep results by it. None: nobody can say."""
        if type(self) is not Template:
            return None
        names = ("use_chat_template", "max_length", "truncation_strategy", "default_system", "enable_thinking", "append_eos")
        return encoding_fingerprint(self.tokenizer, self._encoder.tokenizer.to_str(), {name: vars(self)[name] for name in names})

    def decode(self, token_ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of ``token_ids`` (a list, an array or a one-dimensional tensor)."""
        ids = [int(token) for token in token_ids]
        text: str = self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)
        return text

    def batch_decode(self, sequences: Iterable[Iterable[int]], skip_special_tokens: bool = False) -> list[str]:
        """The texts of several sequences of token ids."""
        return [self.decode(token_ids, skip_special_tokens) for token_ids in sequences]

    def concat_input_feature(self, prompt: InputFeature, new_tokens: Iterable[int]) -> InputFeature:
        """``prompt`` continued by ``new_tokens``, all of which become labels; labels that ``prompt`` has stay.

        Of n prompt tokens and k new ones, the positions n - 1 ... n + k - 2 predict the new ones. Every other column of ``prompt`` is
        copied; ``messages`` gets the assistant's turn, its tool calls parsed out of the content. Nothing is truncated.

        Raises:
            InvalidData: a prompt without tokens.
        """
        row = cast("dict[str, Any]", prompt)
        old = [int(token) for token in row["input_ids"]]
        new = [int(token) for token in new_tokens]
        if not old:
            raise InvalidData("the prompt has no tokens, so that nothing predicts the first new one")
        labels = [int(label) for label in row["labels"]] if "labels" in row else [IGNORE_INDEX] * len(old)
        feature = {key: copy.deepcopy(value) for key, value in row.items() if key not in _FEATURE_COLUMNS}
        feature.update(_feature(old + new, []))
        feature["labels"] = labels[: len(old) - 1] + new + [IGNORE_INDEX]
        if "completion_mask" in row:
            feature["completion_mask"] = [int(flag) for flag in row["completion_mask"]] + [1] * len(new)
        if row.get("messages"):
            if is_empty_turn(feature["messages"][-1]):
                feature["messages"].pop()
            content, calls = parse_tool_calls(self.decode(new, skip_special_tokens=True))
            turn: dict[str, Any] = {"role": "assistant", "content": content}
            feature["messages"].append({**turn, "tool_calls": calls} if calls else turn)
        return cast(InputFeature, feature)


def _feature(ids: list[int], trained: Iterable[Span]) -> Feature:
    length = len(ids)
    return {
        "input_ids": ids,
        "attention_mask": [1] * length,
        "position_ids": list(range(length)),
        "labels": shifted_labels(ids, trained),
        "length": length,
    }


def _plain_text(trajectory: Row) -> str:
    """The text of a pretraining row."""
    text = trajectory.get("text")
    if text is None and ("text" not in trajectory or trajectory.get("messages") is not None):
        messages = normal_messages(trajectory.get("messages"))
        if [message["role"] for message in messages] != ["user"]:
            raise InvalidData(
                "use_chat_template=False is pretraining, where a row has 'text' or exactly one user message; this one has "
                f"the messages of {[message['role'] for message in messages]}"
            )
        text = messages[0]["content"]
    if not isinstance(text, str) or not text:
        raise InvalidData(f"'text' must be text that is not empty, got {text!r}")
    return text


def _no_utf8(samples: Iterable[_Sample]) -> InvalidData | None:
    """Why a text cannot be handed to a tokenizer; None where it can."""
    for sample in samples:
        try:
            sample.text.encode("utf-8")
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            return InvalidData(
                f"the text holds {half!r}, half of a surrogate pair, which is no character and has no UTF-8: replace it in a preprocessor, "
                "by text.encode('utf-8', 'replace').decode()"
            )
    return None


def _unless_error(outcomes: Sequence[list[Feature] | InvalidData]) -> list[list[Feature]]:
    """``outcomes`` if none is an error; else the first is raised."""
    features = []
    for outcome in outcomes:
        if isinstance(outcome, InvalidData):
            raise outcome
        features.append(outcome)
    return features


def _named(error: InvalidData, index: int, num_rows: int, row: Row) -> InvalidData:
    """``error`` with the place it is about."""
    place = f"row {index} of this batch of {num_rows}" if num_rows > 1 else "this row"
    first_words = excerpt(row)
    return InvalidData(f"{place}{f' ({first_words})' if first_words else ''}: {error}")
