"""The nouns that parts exchange."""

from __future__ import annotations

from twinkle.core.types import IGNORE_INDEX as IGNORE_INDEX
from twinkle.core.types import InputFeature as InputFeature
from twinkle.core.types import LossOutput as LossOutput
from twinkle.core.types import Message as Message
from twinkle.core.types import ModelOutput as ModelOutput
from twinkle.core.types import SampledSequence as SampledSequence
from twinkle.core.types import SampleResponse as SampleResponse
from twinkle.core.types import SamplingParams as SamplingParams
from twinkle.core.types import Trajectory as Trajectory
