"""``twinkle demo``: the whole road in one command, without a network: a tiny model learns who it is."""

from __future__ import annotations

import json
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from twinkle.cli.answer import answer
from twinkle.cli.config_file import Use
from twinkle.cli.interrupt import INTERRUPTED, stop_on_interrupt
from twinkle.cli.loss_curve import draw_loss_curve
from twinkle.cli.one_thread import one_thread
from twinkle.cli.progress import TrainingProgress
from twinkle.cli.quiet import quiet_libraries
from twinkle.cli.sft_config import DatasetConfig, LoraTable, SFTConfig
from twinkle.cli.sft_loop import RunResult
from twinkle.cli.sft_loop import train as run_loop
from twinkle.cli.sft_parts import build_parts, load_messages, resolve_parts
from twinkle.cli.text_table import print_table
from twinkle.cli.tiny_model import make_tiny_model
from twinkle.cli.toy_component import write_toy_component
from twinkle.core.components import build
from twinkle.core.resolved import Resolved

ROWS = Path(__file__).with_name("data") / "self_cognition.jsonl"
PREPROCESSOR = "SelfCognitionProcessor"
QUESTIONS = ("Who are you?", "你是谁？")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """What a model of a certain size needs to learn the rows by heart."""

    num_steps: int
    batch_size: int
    lr: float
    mixed_precision: str
    lora: LoraTable | None = None
    patches: tuple[Use, ...] = ()


TINY = Lesson(
    num_steps=300,
    batch_size=16,
    lr=2e-3,
    mixed_precision="no",  # for so small a model the casts to bfloat16 cost more than they save
    patches=(Use(use="no_split_modules", arguments={"module_names": ("Qwen3DecoderLayer",)}),),
)
REAL = Lesson(num_steps=60, batch_size=8, lr=5e-4, mixed_precision="bf16", lora=LoraTable(r=16, alpha=32))


def demo(
    model: Annotated[str | None, typer.Option(help="A model folder or hub id, trained by LoRA; unset: a tiny Qwen3 is made here.")] = None,
    data: Annotated[Path | None, typer.Option(help="Rows with 'query' and 'response'; unset: our own, English and Chinese.")] = None,
    name: Annotated[str, typer.Option(help="The name that the model learns.")] = "Little Star",
    author: Annotated[str, typer.Option(help="Who trained it.")] = "Twinkle Workbench",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps; unset: 300 for the tiny model, 60 for others.")] = None,
    output: Annotated[Path, typer.Option(help="Where checkpoint, metrics and loss curve go.")] = Path("output/demo"),
    seed: Annotated[int, typer.Option(help="Of the weights and of the order of the rows.")] = 42,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Teach a model who it is: no network, no GPU, under two minutes."""
    quiet_libraries()
    console = Console(stderr=True)
    lesson = TINY if model is None else REAL
    rows = str(ROWS if data is None else data)
    threads = one_thread() if model is None else nullcontext()
    with threads, tempfile.TemporaryDirectory(prefix="twinkle-demo-") as folder:
        if model is None:
            model = str(make_tiny_model(Path(folder) / "tiny-qwen3", _texts(rows), seed))
        preprocessor = Use(use=PREPROCESSOR, arguments={"model_name": name, "model_author": author})
        config = SFTConfig(
            model=model,
            dataset=(DatasetConfig(id=rows, preprocessor=preprocessor),),
            output_dir=output,
            backend=Use(use="transformers", arguments={"mixed_precision": lesson.mixed_precision}),
            template=Use(use="Template"),
            lora=lesson.lora,
            patches=lesson.patches,
            loss=Use(use="CrossEntropyLoss"),
            metrics=(Use(use="Accuracy"), Use(use=write_toy_component(Path(folder) / "toy-metrics"))),
            optimizer=Use(use="AdamW", arguments={"lr": lesson.lr}),
            lr_scheduler=Use(use="CosineWarmupScheduler", arguments={"num_warmup_steps": 10}),
            batch_size=lesson.batch_size,
            max_steps=lesson.num_steps if steps is None else steps,
            seed=seed,
        )
        _show_parts(console, resolve_parts(config))
        parts = build_parts(config)
        template = build("template", config.template.use, model_id=model)
        teacher = build("preprocessor", preprocessor.use, **preprocessor.arguments)
        before = {question: answer(parts.model, template, teacher, question) for question in QUESTIONS}
        _show_answers(console, "before", before)
        with TrainingProgress(console, parts.num_steps) as progress, stop_on_interrupt() as wish:
            result = run_loop(parts, progress, wish)
        after = {question: answer(parts.model, template, teacher, question) for question in QUESTIONS}
    curve = output / "loss.png"
    draw_loss_curve([(r.step, r.loss) for r in result.reports], curve, "twinkle demo")
    _show_answers(console, "after", after)
    _show_result(console, result, curve)
    if as_json:
        typer.echo(json.dumps(_summary(result, curve, before, after), indent=2, ensure_ascii=False))
    if result.status == "interrupted":
        console.print("The demo begins anew each time: twinkle demo. A run from a file goes on: twinkle train CONFIG --resume DIR.")
        raise typer.Exit(INTERRUPTED)


def _summary(result: RunResult, curve: Path, before: dict[str, str], after: dict[str, str]) -> dict[str, object]:
    first, last = result.reports[0], result.reports[-1]
    return {
        "status": result.status,
        "steps": result.step,
        "loss": {"first": first.loss, "last": last.loss},
        "metrics": {key: str(value) for key, value in last.metrics.items()},
        "before": before,
        "after": after,
        "checkpoint": str(result.checkpoint),
        "loss_curve": str(curve),
        "seconds": last.elapsed_s,
        "tokens_per_s": last.tokens_per_s,
    }


def _texts(rows: str) -> list[str]:
    """Every message of the rows without the names, which then are no tokens that an untrained model could hit upon."""
    nameless = Use(use=PREPROCESSOR, arguments={"model_name": "", "model_author": ""})
    dataset = load_messages((DatasetConfig(id=rows, preprocessor=nameless),))
    return [message["content"] for row in dataset for message in row["messages"]]


def _show_parts(console: Console, parts: list[Resolved]) -> None:
    origins = {"builtin": "built in", "file": "a stranger's folder, by its id"}
    lines = [(part.name, part.kind, origins.get(part.origin, part.dist or part.origin)) for part in parts]
    print_table(console, ("part", "kind", "from"), lines)


def _show_answers(console: Console, when: str, answers: dict[str, str]) -> None:
    console.print(f"\n{when} training", style="bold")
    for question, text in answers.items():
        shown = " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "(nothing)"
        console.print(Text(f"  {question}  ") + Text(shown, style="green" if when == "after" else "dim"), soft_wrap=True)


def _show_result(console: Console, result: RunResult, curve: Path) -> None:
    first, last = result.reports[0], result.reports[-1]
    speed = f"{last.elapsed_s:.0f} s, {last.tokens_per_s:,.0f} tokens/s"
    console.print(
        f"\n{result.status}: loss {first.loss:.4f} -> {last.loss:.4f} in {result.step} steps, {speed}", style="bold", highlight=False
    )
    console.print(Text(f"checkpoint  {result.checkpoint}\nloss curve  {curve}"), soft_wrap=True)
