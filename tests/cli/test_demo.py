"""``twinkle demo``: the whole road, for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from twinkle.cli.demo import QUESTIONS
from twinkle.cli.main import app
from twinkle.cli.tiny_model import make_tiny_model


def demo(*arguments: object) -> Any:
    result = CliRunner().invoke(app, ["demo", "--json", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
def test_after_the_demo_the_model_says_its_name_and_its_author_in_both_languages(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    told = demo("--output", tmp_path, "--name", "Nova", "--author", "Acme Labs")
    for question in QUESTIONS:
        assert "Nova" in told["after"][question] and "Acme Labs" in told["after"][question]
        assert "Nova" not in told["before"][question] and "Acme Labs" not in told["before"][question]
    assert told["loss"]["last"] < 0.2 < 5 < told["loss"]["first"]
    assert float(told["metrics"]["perplexity"]) == pytest.approx(2.718281828 ** told["loss"]["last"], rel=1e-5)  # the stranger's metric
    assert float(told["metrics"]["accuracy"]) > 0.9
    assert Path(told["loss_curve"]).read_bytes().startswith(b"\x89PNG")
    checkpoint = Path(told["checkpoint"])
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    chat = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Who are you?"}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**inputs, max_new_tokens=64, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == told["after"]["Who are you?"]


@pytest.mark.slow
def test_the_same_demo_gives_the_same_numbers(tmp_path: Path) -> None:
    first, second = (demo("--output", tmp_path / name, "--steps", 3) for name in "ab")
    assert [told.pop("loss") for told in (first,)] == [told.pop("loss") for told in (second,)]
    assert (first["before"], first["after"]) == (second["before"], second["after"])
    assert (tmp_path / "a" / "loss.png").read_bytes() == (tmp_path / "b" / "loss.png").read_bytes()


@pytest.mark.slow
def test_another_model_and_other_rows_are_trained_by_lora(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"query": f"Who are you, {i}?", "response": "{{NAME}} of {{AUTHOR}}"}) + "\n" for i in range(8)))
    model = make_tiny_model(tmp_path / "model", ["Who are you? I am somebody."], seed=0)
    told = demo("--model", model, "--data", rows, "--steps", 4, "--output", tmp_path / "out")
    assert told["loss"]["last"] < told["loss"]["first"]
    assert (Path(told["checkpoint"]) / "adapter_model.safetensors").is_file()


def test_rows_without_the_columns_are_named(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "Who?"}\n')
    result = CliRunner().invoke(app, ["demo", "--data", str(rows), "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "'query'" in result.stderr and str(rows) in result.stderr and "row 0" in result.stderr
