"""What a sampler keeps: as many sequences as were asked for, in order, that end where they should and can be had again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twinkle.core.types import SampledSequence, SamplingParams
from twinkle.testing.check import check, expect
from twinkle.testing.example import Example
from twinkle.testing.specimen import Specimen

_MAX_TOKENS = 6


@dataclass(frozen=True, kw_only=True)
class SamplerExample(Example):
    """For samplers: a tiny model in ``init``, and two different prompts or more for it."""

    prompts: Callable[[], Sequence[Any]]


def _sample(component: Specimen, sampler: Any = None, num_samples: int = 1, **params: Any) -> list[SampledSequence]:
    prompts = list(component.example_of(SamplerExample).prompts())
    given = SamplingParams(**{"max_tokens": _MAX_TOKENS, "seed": 5, **params})
    sequences: list[SampledSequence] = (sampler or component.build()).sample(prompts, given, num_samples=num_samples).sequences
    return sequences


def _tokens(sequences: Sequence[SampledSequence]) -> list[list[int]]:
    return [list(sequence.tokens) for sequence in sequences]


@check("sampler", timeout_s=180)
def gives_what_was_asked_for(component: Specimen) -> None:
    """num_samples sequences for each prompt, the samples of a prompt next to each other, with the number of their group."""
    num_prompts = len(component.example_of(SamplerExample).prompts())
    groups = [sequence.group for sequence in _sample(component, num_samples=3)]
    expected = [prompt for prompt in range(num_prompts) for _ in range(3)]
    expect(groups == expected, f"the groups are {groups} instead of {expected}")


@check("sampler", timeout_s=180)
def a_seed_gives_the_same_again(component: Specimen) -> None:
    """The same seed gives the same tokens, from the same sampler and from a new one."""
    sampler = component.build()
    first, again, new = (_tokens(_sample(component, one)) for one in (sampler, sampler, None))
    expect(first == again == new, f"the same seed gave {first}, then {again}, and {new} from a new sampler")


@check("sampler", timeout_s=180)
def samples_differ(component: Specimen) -> None:
    """At temperature 1 the samples of one prompt are not all the same: a seed must not be used anew for each of them."""
    sequences = _sample(component, num_samples=8)[:8]
    expect(len({tuple(sequence.tokens) for sequence in sequences}) > 1, f"eight samples are all {list(sequences[0].tokens)}")


@check("sampler", timeout_s=180)
def temperature_zero_is_greedy(component: Specimen) -> None:
    """At temperature 0 every sample of a prompt is the same, whatever the seed."""
    first, other = (_tokens(_sample(component, num_samples=2, temperature=0.0, seed=seed)) for seed in (1, 2))
    expect(first == other and first[0] == first[1], f"greedy samples differ: {first} and {other}")


@check("sampler", timeout_s=180)
def ends_at_the_length(component: Specimen) -> None:
    """A sequence has at most max_tokens tokens, and says 'length' where it was cut off there."""
    for sequence in _sample(component):
        expect(len(sequence.tokens) <= _MAX_TOKENS, f"{len(sequence.tokens)} tokens, of {_MAX_TOKENS} at most")
        cut = len(sequence.tokens) == _MAX_TOKENS
        expect(sequence.stop_reason in ("length", "stop") and (cut or sequence.stop_reason == "stop"), f"it says {sequence.stop_reason!r}")


@check("sampler", timeout_s=180)
def ends_at_a_stop_token(component: Specimen) -> None:
    """A token in stop= ends the sequence the first time it comes, and the sequence says 'stop'."""
    free = _sample(component, temperature=0.0)[0]
    stop = list(free.tokens)[min(2, len(free.tokens) - 1)]
    end = list(free.tokens).index(stop)
    stopped = _sample(component, temperature=0.0, stop=[stop])[0]
    expect(stopped.stop_reason == "stop", f"it says {stopped.stop_reason!r}")
    allowed = (list(free.tokens)[:end], list(free.tokens)[: end + 1])
    expect(list(stopped.tokens) in allowed, f"with stop=[{stop}] it gives {list(stopped.tokens)}, without {list(free.tokens)}")


@check("sampler", timeout_s=180)
def every_token_has_its_logprob(component: Specimen) -> None:
    """Each generated token carries its log-probability, a finite number not above 0."""
    for sequence in _sample(component):
        logprobs = sequence.logprobs or []
        expect(len(logprobs) == len(sequence.tokens), f"{len(logprobs)} log-probabilities for {len(sequence.tokens)} tokens")
        pairs: list[tuple[Any, int]] = list(zip(logprobs, sequence.tokens, strict=True))
        own = [entry if isinstance(entry, int | float) else dict(entry).get(token) for entry, token in pairs]
        expect(all(value is not None and -1e4 < value <= 1e-6 for value in own), f"no log-probabilities: {own}")


CHECKS = (
    gives_what_was_asked_for,
    a_seed_gives_the_same_again,
    samples_differ,
    temperature_zero_is_greedy,
    ends_at_the_length,
    ends_at_a_stop_token,
    every_token_has_its_logprob,
)
