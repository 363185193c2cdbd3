"""What this package tells Twinkle. Light on purpose: it names the parts and imports none of them."""

from twinkle import hookimpl
from twinkle.core.kinds import KindSpec


@hookimpl
def twinkle_losses():
    return {"focal": "twinkle_toy.focal:FocalLoss"}


@hookimpl
def twinkle_metrics():
    return {"bits_per_token": "twinkle_toy.bits_per_token:BitsPerToken"}


@hookimpl
def twinkle_kinds():
    return [
        KindSpec(name="judge", hook="twinkle_judges", contract="twinkle_toy.judge:Judge", summary="says which of two answers is better")
    ]


@hookimpl
def twinkle_judges():
    return {"shorter": "twinkle_toy.judge:ShorterJudge"}
