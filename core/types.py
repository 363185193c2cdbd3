"""The nouns that parts exchange, and the legend of tensor shapes.

Shape suffixes (``logps_BT``): ``B`` sequences of a batch, ``T`` positions (of the longest sequence in a padded batch, of all of them in a
flat one), ``V`` vocabulary, ``H`` hidden size, ``P`` prompts, ``G`` samples a prompt, ``S`` sequences of a flat batch.

Labels are shifted where they are made: ``labels[i]`` is the token that position ``i`` predicts, ``-100`` where nothing is trained. No part
shifts again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, overload

from twinkle.core.errors import InvalidArgument
from twinkle.core.suggestion import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

IGNORE_INDEX = -100
"""The label of a position that is not trained."""


class Message(TypedDict, total=False):
    """One turn of a conversation."""

    role: str
    content: str | list[dict[str, Any]]
    type: str
    tool_calls: list[dict[str, Any]]
    tool_call_id: str
    reasoning_content: str
    images: list[Any]
    videos: list[Any]
    audios: list[Any]


class Trajectory(TypedDict, total=False):
    """A conversation and what belongs to it."""

    messages: list[Message]
    tools: list[dict[str, Any]]
    user_data: list[Any]
    """Pairs ``(key, value)``, or one mapping in a list: what rewards compare with."""
    extend_message: list[Any]
    advantages: float


class InputFeature(TypedDict, total=False):
    """An encoded sample. Columns that are not named here travel along."""

    input_ids: Any
    attention_mask: Any
    position_ids: Any
    labels: Any
    completion_mask: Any
    length: int


class ModelOutput(TypedDict, total=False):
    """What a forward pass gives; ``logps`` has the shape of the labels, its values at -100 mean nothing."""

    logits: Tensor
    loss: Any
    logps: Tensor
    entropies: Tensor
    aux_loss: Tensor
    num_tokens: Any


Domain = Literal["token", "sequence", "batch"]


class LossOutput(TypedDict):
    """A loss: a sum and what it is divided by.

    ``num_tokens`` is the denominator, in units of ``domain`` (tokens, sequences; a batch-domain loss cannot be split).
    0 means that ``loss`` is a mean already: over the trained tokens where its domain is "token", else over the sequences; ``mean_over``
    says how many units it is a mean over where those are not all. Several terms, each with its own denominator, are a tuple of these.
    """

    loss: Tensor
    num_tokens: Any
    domain: NotRequired[Domain]
    mean_over: NotRequired[Any]


@dataclass(kw_only=True, slots=True)
class SamplingParams:
    """How sequences are sampled."""

    max_tokens: int | None = None
    """Tokens to generate at most; None leaves it to the sampler."""
    seed: int | None = None
    stop: str | Sequence[str] | Sequence[int] | None = None
    """Strings, or token ids, that end a sequence."""
    temperature: float = 1.0
    """0 is greedy."""
    top_k: int = -1
    """-1: all tokens."""
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    logprobs: int | None = None
    """How many log-probabilities a generated token carries; None: its own alone."""
    prompt_logprobs: int | None = None
    num_samples: int = 1

    @classmethod
    def from_dict(cls, params: dict[str, Any]) -> SamplingParams:
        """From a mapping; ``max_new_tokens`` is accepted for ``max_tokens``. ``params`` is not changed.

        Raises:
            InvalidArgument: a key that does not exist.
        """
        renamed = {("max_tokens" if key == "max_new_tokens" else key): value for key, value in params.items()}
        known = set(cls.__dataclass_fields__)
        for key in renamed:
            if key not in known:
                raise InvalidArgument(f"sampling parameters have no {key!r}.{did_you_mean(key, known)}")
        return cls(**renamed)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a plain mapping."""
        return asdict(self)


@dataclass(kw_only=True, slots=True)
class SampledSequence:
    """One generated sequence."""

    stop_reason: Literal["length", "stop", "abort", "error"]
    tokens: list[int]
    logprobs: list[float] | list[list[tuple[int, float]]] | None = None
    decoded: str | None = None
    new_input_feature: InputFeature | None = None
    """The prompt continued by ``tokens``, ready for training."""
    group: int | None = None
    """Which prompt of the call this belongs to: sequences of one prompt share it."""


@dataclass(kw_only=True, slots=True)
class SampleResponse(Sequence["SampleResponse"]):
    """What ``sample`` returns: ``.sequences`` flat and prompt-major, and itself a sequence of one response per prompt."""

    sequences: list[SampledSequence]
    prompt_logprobs: list[Any] | None = None
    topk_prompt_logprobs: list[Any] | None = None
    prompt_token_ids: list[list[int]] | None = None
    prompts: list[SampleResponse] = field(default_factory=list)
    """One response per input, in the order of the inputs."""

    def __len__(self) -> int:
        return len(self.prompts)

    @overload
    def __getitem__(self, index: int) -> SampleResponse: ...
    @overload
    def __getitem__(self, index: slice) -> list[SampleResponse]: ...
    def __getitem__(self, index: int | slice) -> SampleResponse | list[SampleResponse]:
        return self.prompts[index]

    def __iter__(self) -> Iterator[SampleResponse]:
        return iter(self.prompts)
