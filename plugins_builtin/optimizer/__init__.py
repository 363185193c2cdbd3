"""Built-in optimizers: those of torch, by their class name and in small letters."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {
    "adadelta": "torch.optim:Adadelta",
    "adafactor": "torch.optim:Adafactor",
    "adagrad": "torch.optim:Adagrad",
    "adam": "torch.optim:Adam",
    "adamax": "torch.optim:Adamax",
    "adamw": "torch.optim:AdamW",
    "asgd": "torch.optim:ASGD",
    "default": "torch.optim:AdamW",
    "nadam": "torch.optim:NAdam",
    "radam": "torch.optim:RAdam",
    "rmsprop": "torch.optim:RMSprop",
    "rprop": "torch.optim:Rprop",
    "sgd": "torch.optim:SGD",
}


@hookimpl
def twinkle_optimizers() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
