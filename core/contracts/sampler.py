"""The contract of a sampler."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from twinkle.core.types import InputFeature, SampleResponse, SamplingParams, Trajectory


class Sampler(Protocol):
    """Generates sequences from prompts."""

    @abstractmethod
    def sample(
        self,
        inputs: Sequence[InputFeature | Trajectory],
        sampling_params: SamplingParams | dict[str, Any] | None = None,
        adapter_name: str = "",
        *,
        num_samples: int = 1,
    ) -> SampleResponse:
        """``num_samples`` sequences for each of ``inputs``, flat and prompt-major in ``.sequences``."""
