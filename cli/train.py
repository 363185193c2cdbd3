"""``twinkle train``: a run from a configuration file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from twinkle.cli.config_file import read_config
from twinkle.cli.interrupt import INTERRUPTED, stop_on_interrupt
from twinkle.cli.loss_curve import draw_loss_curve
from twinkle.cli.progress import TrainingProgress
from twinkle.cli.quiet import quiet_libraries
from twinkle.cli.sft_config import SFTConfig
from twinkle.cli.sft_loop import METRIC_LOG, RunResult, plain_config
from twinkle.cli.sft_loop import train as run_loop
from twinkle.cli.sft_parts import build_parts, resolve_parts

EXAMPLE = """\
model = "ms://Qwen/Qwen3-4B"
output_dir = "output/sft"
num_epochs = 1
batch_size = 8
gradient_accumulation_steps = 2
optimizer = { use = "AdamW", lr = 1e-4 }
lr_scheduler = { use = "CosineWarmupScheduler", num_warmup_steps = 5 }

[dataset]
id = "ms://swift/self-cognition"
[dataset.preprocessor]
use = "SelfCognitionProcessor"
model_name = "Twinkle"
model_author = "us"

[lora]
r = 8
alpha = 32
"""
"""A configuration to begin with; :class:`SFTConfig` explains every key."""

app = typer.Typer(add_completion=False)


@app.command(epilog="CONFIG looks like this:\n\n" + escape(EXAMPLE))
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML, JSON or YAML file.")],
    resume: Annotated[Path | None, typer.Option("--resume", metavar="DIR", help="Go on from this checkpoint of the same run.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and the names in it, print what would run, and stop.")] = False,
) -> None:
    """Fine-tune a model as CONFIG says."""
    parsed = read_config(SFTConfig, config)
    console = Console(stderr=True)
    if dry_run:
        plan = {"config": plain_config(parsed), "parts": [part.provenance() for part in resolve_parts(parsed)]}
        typer.echo(json.dumps(plan, indent=2, ensure_ascii=False))
        return
    quiet_libraries()
    parts = build_parts(parsed)
    with TrainingProgress(console, parts.num_steps) as progress, stop_on_interrupt() as wish:
        result = run_loop(parts, progress, wish, resume)
    curve = parsed.output_dir / "loss.png"
    draw_loss_curve([(r.step, r.loss) for r in result.reports], curve, f"loss of {config.name}")
    _print_result(console, result, parsed, curve)
    if result.status == "interrupted":
        _print(console, "go on     ", f"twinkle train {config} --resume {result.checkpoint}")
        raise typer.Exit(INTERRUPTED)


def _print_result(console: Console, result: RunResult, config: SFTConfig, curve: Path) -> None:
    first, last = result.reports[0], result.reports[-1]
    console.print(f"{result.status} after {result.step} optimizer steps: loss {first.loss:.4f} -> {last.loss:.4f}", style="bold")
    _print(console, "checkpoint", str(result.checkpoint))
    _print(console, "metrics   ", str(config.output_dir / METRIC_LOG))
    _print(console, "loss curve", str(curve))


def _print(console: Console, title: str, text: str) -> None:
    console.print(Text(f"{title}  ", style="bold") + Text(text), soft_wrap=True)
