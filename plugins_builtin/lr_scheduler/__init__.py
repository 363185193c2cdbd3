"""Built-in learning-rate schedulers: ours, and those of torch by their class name and in small letters."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {
    "constant": "torch.optim.lr_scheduler:ConstantLR",
    "cosine_annealing": "torch.optim.lr_scheduler:CosineAnnealingLR",
    "cosine_annealing_warm_restarts": "torch.optim.lr_scheduler:CosineAnnealingWarmRestarts",
    "cosine_warmup": "twinkle.plugins_builtin.lr_scheduler._cosine_warmup:CosineWarmupScheduler",
    "cyclic": "torch.optim.lr_scheduler:CyclicLR",
    "exponential": "torch.optim.lr_scheduler:ExponentialLR",
    "lambda": "torch.optim.lr_scheduler:LambdaLR",
    "linear": "torch.optim.lr_scheduler:LinearLR",
    "linear_warmup": "twinkle.plugins_builtin.lr_scheduler._linear_warmup:LinearWarmupScheduler",
    "multi_step": "torch.optim.lr_scheduler:MultiStepLR",
    "one_cycle": "torch.optim.lr_scheduler:OneCycleLR",
    "polynomial": "torch.optim.lr_scheduler:PolynomialLR",
    "step": "torch.optim.lr_scheduler:StepLR",
}


@hookimpl
def twinkle_lr_schedulers() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
