"""A sampler without a model, and wrong ones."""

from __future__ import annotations

import random
from typing import Any

from twinkle.core.types import SampledSequence, SampleResponse
from twinkle.testing import SamplerExample


class GoodSampler:
    """Random tokens from 50; the greedy ones count up."""

    more_tokens = 0
    logprob = -1.5

    def sample(self, inputs: Any, sampling_params: Any = None, adapter_name: str = "", *, num_samples: int = 1) -> Any:
        return SampleResponse(sequences=[self.sequence(p, s, sampling_params) for p in range(len(inputs)) for s in range(num_samples)])

    def sequence(self, prompt: int, sample: int, params: Any) -> SampledSequence:
        generator = self.generator(prompt, sample, params)
        tokens, reason = [], "length"
        while len(tokens) < params.max_tokens + self.more_tokens:
            tokens.append(self.token(prompt, len(tokens), params, generator))
            if tokens[-1] in self.stop_of(params):
                reason = "stop"
                break
        return SampledSequence(
            stop_reason=reason,  # type: ignore[arg-type]
            tokens=tokens,
            logprobs=[self.logprob] * len(tokens),
            group=self.group(prompt),
        )

    def generator(self, prompt: int, sample: int, params: Any) -> random.Random:
        return random.Random(f"{params.seed} {prompt} {sample}")

    def token(self, prompt: int, position: int, params: Any, generator: random.Random) -> int:
        return prompt + 3 * position if params.temperature == 0 else generator.randrange(50)

    def stop_of(self, params: Any) -> Any:
        return params.stop or ()

    def group(self, prompt: int) -> int | None:
        return prompt


class NoGroups(GoodSampler):
    def group(self, prompt: int) -> int | None:
        return None


class IgnoresTheSeed(GoodSampler):
    def generator(self, prompt: int, sample: int, params: Any) -> random.Random:
        return random.Random()


class OneSeedForAll(GoodSampler):
    def generator(self, prompt: int, sample: int, params: Any) -> random.Random:
        return random.Random(f"{params.seed} {prompt}")


class NeverGreedy(GoodSampler):
    def token(self, prompt: int, position: int, params: Any, generator: random.Random) -> int:
        return generator.randrange(50)


class OneTooMany(GoodSampler):
    more_tokens = 1


class IgnoresStop(GoodSampler):
    def stop_of(self, params: Any) -> Any:
        return ()


class Probabilities(GoodSampler):
    logprob = 0.2


EXAMPLE = SamplerExample(prompts=lambda: [{"input_ids": [1, 2]}, {"input_ids": [3]}])
GOOD = (GoodSampler, EXAMPLE)
MUTANTS = {
    "gives_what_was_asked_for": (NoGroups, EXAMPLE),
    "a_seed_gives_the_same_again": (IgnoresTheSeed, EXAMPLE),
    "samples_differ": (OneSeedForAll, EXAMPLE),
    "temperature_zero_is_greedy": (NeverGreedy, EXAMPLE),
    "ends_at_the_length": (OneTooMany, EXAMPLE),
    "ends_at_a_stop_token": (IgnoresStop, EXAMPLE),
    "every_token_has_its_logprob": (Probabilities, EXAMPLE),
}
