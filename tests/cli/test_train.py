"""``twinkle train``: what a run writes, tells and can be gone on with."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from twinkle.cli.config_file import read_config
from twinkle.cli.main import app
from twinkle.cli.sft_config import SFTConfig
from twinkle.cli.train import EXAMPLE
from twinkle.core.hookspecs import hookimpl
from twinkle.core.runtime.context import ProcessContext

Config = Callable[..., Path]


class Listener:
    """Writes down what it is told; ``interrupt_at`` presses Ctrl-C after that step."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.told: list[tuple[str, object]] = []
        self.config: Mapping[str, object] = {}
        self._interrupt_at = interrupt_at

    @hookimpl
    def twinkle_run_started(self, run: str, config: Mapping[str, object]) -> None:
        self.told.append(("started", Path(run).name))
        self.config = config

    @hookimpl
    def twinkle_step_ended(self, step: int, metrics: Mapping[str, object]) -> None:
        self.told.append(("step", step))
        if step == self._interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)

    @hookimpl
    def twinkle_checkpoint_saved(self, path: Path, step: int) -> None:
        self.told.append(("saved", Path(path).name))

    @hookimpl
    def twinkle_run_ended(self, run: str, status: str) -> None:
        self.told.append(("ended", status))


class BrokenLoss:
    def __call__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        raise ZeroDivisionError("this loss is broken")


class BrokenParts:
    @hookimpl
    def twinkle_losses(self) -> dict[str, object]:
        return {"broken": BrokenLoss}


@pytest.fixture
def config(tmp_path: Path, tiny_model_folder: Path) -> Config:
    """Writes a configuration of a run of two steps over eight rows, changed by what is given."""
    rows = [{"messages": [{"role": "user", "content": f"{i} + 1 = ?"}, {"role": "assistant", "content": str(i + 1)}]} for i in range(8)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def write(name: str = "run", **changed: Any) -> Path:
        table = {
            "model": str(tiny_model_folder),
            "dataset": {"id": str(data)},
            "output_dir": str(tmp_path / name),
            "backend": {"use": "transformers", "mixed_precision": "no"},
            "optimizer": {"use": "AdamW", "lr": 1e-2},
            "batch_size": 4,
            **changed,
        }
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(table), encoding="utf-8")
        return path

    return write


def twinkle(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def weights_of(checkpoint: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(checkpoint / "model.safetensors")


def test_a_run_writes_a_checkpoint_its_metrics_and_the_curve(config: Config, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    done = twinkle(config(num_epochs=4))
    assert done.exit_code == 0, done.output
    log = log_of(tmp_path / "run")
    assert [line["step"] for line in log] == list(range(1, 9))
    assert log[-1]["loss"] < log[0]["loss"]
    assert (tmp_path / "run" / "loss.png").read_bytes().startswith(b"\x89PNG")
    checkpoint = tmp_path / "run" / "checkpoint-8"
    assert AutoModelForCausalLM.from_pretrained(checkpoint).num_parameters() > 0
    assert AutoTokenizer.from_pretrained(checkpoint).chat_template
    assert f"checkpoint  {checkpoint}" in done.stderr


def test_plugins_are_told_of_the_run_in_order(config: Config, context: ProcessContext) -> None:
    listener = Listener()
    context.registry.register(listener, "listener")
    assert twinkle(config(save_steps=1)).exit_code == 0
    assert listener.told == [
        ("started", "run"),
        ("step", 1),
        ("saved", "checkpoint-1"),
        ("step", 2),
        ("saved", "checkpoint-2"),
        ("ended", "finished"),
    ]
    assert listener.config["batch_size"] == 4 and listener.config["seed"] == 42


def test_plugins_are_told_of_a_run_that_failed(config: Config, context: ProcessContext) -> None:
    listener = Listener()
    context.registry.register(listener, "listener")
    context.registry.register(BrokenParts(), "acme")
    assert isinstance(twinkle(config(loss="broken")).exception, ZeroDivisionError)
    assert listener.told == [("started", "run"), ("ended", "failed")]


@pytest.mark.slow
def test_an_interrupted_run_goes_on_by_the_command_that_it_prints_to_the_same_bits(
    config: Config, context: ProcessContext, tmp_path: Path
) -> None:
    schedule = {"use": "CosineWarmupScheduler", "num_warmup_steps": 1}
    options = {"num_epochs": 3, "gradient_accumulation_steps": 2, "batch_size": 2, "lr_scheduler": schedule}
    assert twinkle(config("whole", **options)).exit_code == 0

    context.registry.register(Listener(interrupt_at=1), "listener")
    interrupted = twinkle(config("parts", **options))
    assert interrupted.exit_code == 130, interrupted.output
    (line,) = [line for line in interrupted.stderr.splitlines() if "twinkle train" in line]
    command = shlex.split(line[line.index("twinkle train") :])
    assert command == ["twinkle", "train", str(tmp_path / "parts.json"), "--resume", str(tmp_path / "parts" / "checkpoint-2")]

    assert twinkle(*command[2:]).exit_code == 0
    whole, parts = weights_of(tmp_path / "whole" / "checkpoint-6"), weights_of(tmp_path / "parts" / "checkpoint-6")
    assert all((whole[name] == parts[name]).all() for name in whole)
    assert [r["loss"] for r in log_of(tmp_path / "parts")] == [r["loss"] for r in log_of(tmp_path / "whole")]


def test_a_checkpoint_of_the_last_step_or_of_other_accumulation_is_refused(config: Config, tmp_path: Path) -> None:
    assert twinkle(config()).exit_code == 0
    last = tmp_path / "run" / "checkpoint-2"
    refused = twinkle(config(), "--resume", last)
    assert refused.exit_code == 2
    assert "is after step 2, and this run ends with step 2" in refused.stderr
    refused = twinkle(config(gradient_accumulation_steps=2), "--resume", last)
    assert refused.exit_code == 2
    assert "accumulates 1 batches, this run 2" in refused.stderr


def test_a_data_set_to_evaluate_on_is_evaluated_when_it_is_due_and_at_the_end(config: Config, tmp_path: Path) -> None:
    done = twinkle(config(num_epochs=2, eval_steps=3, eval_dataset={"id": str(tmp_path / "rows.jsonl"), "num_rows": 4}))
    assert done.exit_code == 0, done.output
    evaluations = {line["step"]: line["evaluation"]["loss"] for line in log_of(tmp_path / "run") if "evaluation" in line}
    assert list(evaluations) == [3, 4]
    assert evaluations[4] < evaluations[3]


def test_lora_writes_an_adapter(config: Config, tmp_path: Path) -> None:
    done = twinkle(config(lora={"r": 4, "target_modules": ["q_proj"]}, metrics=["accuracy"], logging_steps=2))
    assert done.exit_code == 0, done.output
    adapter = json.loads((tmp_path / "run" / "checkpoint-2" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (adapter["r"], adapter["target_modules"]) == (4, ["q_proj"])
    (line,) = log_of(tmp_path / "run")
    assert "accuracy" in line


def test_gradients_are_clipped_to_the_norm_of_the_configuration(config: Config, tmp_path: Path, tiny_model_folder: Path) -> None:
    plain_sgd = {"use": "SGD", "lr": 1.0, "weight_decay": 0.0}
    assert twinkle(config(max_grad_norm=1e-3, max_steps=1, optimizer=plain_sgd)).exit_code == 0
    before, after = weights_of(tiny_model_folder), weights_of(tmp_path / "run" / "checkpoint-1")
    moved = sum(float((after[name] - before[name]).double().square().sum()) for name in after) ** 0.5
    assert moved == pytest.approx(1e-3, rel=1e-2)  # lr * max_grad_norm; float32 weights of 0.02 round steps of 1e-5


def test_several_data_sets_are_mixed_each_with_its_own_preprocessor(config: Config, tmp_path: Path) -> None:
    named = tmp_path / "named.jsonl"
    named.write_text('{"query": "Who?", "response": "{{NAME}}"}\n' * 8, encoding="utf-8")
    preprocessor = {"use": "SelfCognitionProcessor", "model_name": "N", "model_author": "A"}
    other = tmp_path / "other.jsonl"
    other.write_text('{"query": "Hm?", "response": "{{AUTHOR}}"}\n' * 8, encoding="utf-8")
    tables = [{"id": str(named), "preprocessor": preprocessor}, {"id": str(other), "preprocessor": preprocessor}]
    assert twinkle(config(dataset=tables)).exit_code == 0
    assert [line["step"] for line in log_of(tmp_path / "run")] == [1, 2, 3, 4]


def test_too_little_data_for_one_step_is_said_before_the_model_is_loaded(config: Config) -> None:
    refused = twinkle(config(gradient_accumulation_steps=3))
    assert refused.exit_code == 2
    assert "1 x 2 batches of 4 rows are less than gradient_accumulation_steps=3" in refused.stderr


def test_a_dry_run_says_what_would_run_and_touches_nothing(config: Config, tmp_path: Path) -> None:
    planned = twinkle(config(model="ms://nobody/nothing", loss="cross_entropy"), "--dry-run")
    assert planned.exit_code == 0, planned.output
    plan = json.loads(planned.stdout)
    assert plan["config"]["max_grad_norm"] == 1.0
    assert {"kind": "loss", "name": "cross_entropy"}.items() <= plan["parts"][2].items()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dry_run", [["--dry-run"], []])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": {"use": "AdamW", "lrr": 1}}, "optimizer 'AdamW' does not take the argument 'lrr'. Did you mean 'lr'?"),
        ({"metrics": [{"use": "accuracy", "topk": 5}]}, "metric 'accuracy' does not take the argument 'topk'"),
        ({"loss": "CrossEntropy"}, "no loss is named 'CrossEntropy'. Did you mean"),
        ({"bach_size": 3}, "unknown key 'bach_size'. Did you mean 'batch_size'"),
        (
            {"template": {"use": "Template", "max_lenght": 3}},
            "template 'Template' does not take the argument 'max_lenght'. Did you mean 'max_length'",
        ),
        ({"template": {"use": "Template", "max_length": "64"}}, "template 'Template': max_length: expected a whole number, got '64'"),
        ({"template": {"use": "Template", "truncation_strategy": "cut"}}, "truncation_strategy: expected 'raise' or 'left' or"),
        ({"template": {"use": "Template", "padding_side": "up"}}, "padding_side: expected 'left' or 'right', got 'up'"),
        ({"backend": {"use": "transformers", "activation_memory_byte": 3}}, "Did you mean 'activation_memory_bytes'?"),
        ({"backend": {"use": "transformers", "activation_memory_bytes": "8GB"}}, "expected a whole number, got '8GB'"),
        ({"optimizer": {"use": "AdamW", "lr": "1e-4"}}, "optimizer 'AdamW': lr: expected a number, got '1e-4'"),
        ({"optimizer": {"use": "AdamW", "amsgrad": 1}}, "amsgrad: expected true or false, got 1"),
        ({"lora": {"r": 0}}, "lora: r: expected 1 or more, got 0"),
        ({"lora": {"dropout": 1}}, "lora: dropout: expected 0 or more and less than 1, got 1.0"),
        ({"model": "/nope/x"}, "model '/nope/x': there is no such file or folder"),
        ({"dataset": {"id": "nope/nope.jsonl"}}, "dataset 'nope/nope.jsonl': there is no such file or folder"),
    ],
)
def test_a_typo_is_told_before_anything_is_loaded(config: Config, changed: dict[str, Any], message: str, dry_run: list[str]) -> None:
    refused = twinkle(config(**{"model": "ms://nobody/nothing", **changed}), *dry_run)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_broken_row_is_named_with_its_file_and_line(config: Config, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"messages": []}\n{"messages": \n', encoding="utf-8")
    refused = twinkle(config(dataset={"id": str(broken)}))
    assert refused.exit_code == 2
    assert f"{broken}, line 2" in refused.stderr


def test_the_example_of_the_help_is_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(EXAMPLE, encoding="utf-8")
    assert read_config(SFTConfig, path).dataset[0].preprocessor is not None


def test_pretraining_on_packed_text_trains_every_token(config: Config, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": f"{i} and {i + 1} make {2 * i + 1}. " * 4}) + "\n" for i in range(24)), encoding="utf-8")
    template = {"use": "Template", "use_chat_template": False, "append_eos": True, "max_length": 256}
    done = twinkle(config(packing=True, template=template, dataset={"id": str(corpus)}, num_epochs=3))
    assert done.exit_code == 0, done.output
    log = log_of(tmp_path / "run")
    assert log[-1]["loss"] < log[0]["loss"]
    # 24 texts of about 120 tokens are far fewer sequences of 256: batches of 4 of them, not of 4 texts.
    assert len(log) < 3 * 24 // 4


def test_a_text_corpus_with_blank_lines_is_trained(config: Config, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("A first paragraph.\n\nA second one.\n" * 4, encoding="utf-8")
    done = twinkle(config(template={"use": "Template", "use_chat_template": False}, dataset={"id": str(corpus)}))
    assert done.exit_code == 0, done.output
    assert len(log_of(tmp_path / "run")) == 2


def test_rows_that_cannot_be_encoded_are_dropped_by_the_key_that_the_error_names(config: Config, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text((tmp_path / "rows.jsonl").read_text(encoding="utf-8") + '{"messages": []}\n', encoding="utf-8")
    refused = twinkle(config(dataset={"id": str(mixed)}))
    assert refused.exit_code == 2
    assert "check = true" in refused.stderr
    done = twinkle(config(dataset={"id": str(mixed), "check": True}))
    assert done.exit_code == 0, done.output
    assert len(log_of(tmp_path / "run")) == 2


def test_old_checkpoints_go_and_trackers_hear_the_run(config: Config, tmp_path: Path) -> None:
    trackers = [{"use": "jsonl", "file_name": "events.jsonl"}]
    done = twinkle(
        config(num_epochs=2, save_steps=1, save_total_limit=2, trackers=trackers, eval_dataset={"id": str(tmp_path / "rows.jsonl")})
    )
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "run").glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-4"]
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [e["event"] for e in events] == ["started", "step", "step", "step", "step", "step", "ended"]
    assert "eval/loss" in events[5] and "loss" in events[4]
