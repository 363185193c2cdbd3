"""The command: exit codes, what is kept, and that each name has a benchmark."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from import_graph import ROOT
from made_up_result import RESULT

from benchmarks import __main__ as command
from benchmarks.catalogue import BENCHES, ON_GPU, SELF_TEST, WAITING
from benchmarks.result import BenchResult, CaseResult, newest
from benchmarks.run import BenchDied, once_more_if_noisy

GOOD = replace(RESULT, cases=[CaseResult(name="good")])


class Call:
    """Calls of the command in which each benchmark has the result that it is given here."""

    def __init__(self, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results: dict[str, BenchResult] = {}
        self.kept = kept
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(command, "RESULTS", kept)
        monkeypatch.setattr(command, "run_bench", self._run)

    def _run(self, name: str, *, goal_factor: float, **options: object) -> BenchResult:
        if name not in self.results:
            raise BenchDied(f"{name}: the benchmark ended with 1, see above")
        return replace(self.results[name], bench=name)

    def __call__(self, *arguments: str) -> int:
        self._monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
        return command.main()


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    return Call(tmp_path / "results.jsonl", monkeypatch)


def test_a_reached_goal_ends_with_0_a_missed_one_with_1_and_both_are_kept(call: Call) -> None:
    call.results = {"encode": GOOD, "pack_and_load": RESULT}
    assert (call("encode"), call("pack_and_load")) == (0, 1)
    assert [result.bench for result in newest(call.kept)] == ["encode", "pack_and_load"]


def test_all_runs_the_others_where_one_dies(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call.results = {name: GOOD for name in BENCHES if name != "encode"}
    assert call("all") == 1
    assert {result.bench for result in newest(call.kept)} == set(BENCHES) - {"encode"}
    assert "encode: the benchmark ended with 1" in capsys.readouterr().err


def test_the_result_of_a_gate_and_of_the_self_test_are_not_kept(call: Call) -> None:
    call.results = {"encode": GOOD, SELF_TEST: GOOD}
    assert (call("encode", "--gate"), call(SELF_TEST)) == (0, 0)
    assert not call.kept.exists()


def test_json_is_all_there_is_on_standard_output(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call.results = {"encode": GOOD}
    call("encode", "--json")
    assert json.loads(capsys.readouterr().out)["bench"] == "encode"


@pytest.mark.parametrize("name", WAITING)
def test_a_benchmark_that_waits_says_for_what(name: str, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(name) == 2
    assert f"{name} waits for {WAITING[name]}" in capsys.readouterr().err


def test_a_wrong_name_ends_with_2_and_the_right_ones(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call("encod")
    assert ended.value.code == 2
    assert "encode" in capsys.readouterr().err


def test_the_list_names_each_once(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*BENCHES, *ON_GPU, *WAITING]


@pytest.mark.parametrize("name", [*BENCHES, *ON_GPU, SELF_TEST])
def test_each_name_is_a_module_with_cases(name: str) -> None:
    tree = ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"))
    assert "cases" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    ("drifts", "num_runs", "noisy"), [((0.1,), 1, False), ((0.2, 0.1), 2, False), ((0.2, 0.3), 2, True)], ids=["quiet", "once", "twice"]
)
def test_a_benchmark_runs_once_more_where_the_machine_changed_and_is_noisy_where_it_changed_again(
    drifts: tuple[float, ...], num_runs: int, noisy: bool
) -> None:
    results = iter([replace(GOOD, drift=drift) for drift in drifts])
    found = once_more_if_noisy(lambda: next(results), shown := io.StringIO())
    assert (found.drift, found.noisy) == (drifts[-1], noisy)
    assert next(results, None) is None
    assert len(shown.getvalue().splitlines()) == num_runs - 1 + noisy


@pytest.mark.slow
def test_a_child_runs_a_benchmark_and_prints_what_it_found() -> None:
    options = ["--pairs", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", SELF_TEST, *options], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in {0, 3}, done.stderr
    found = json.loads(done.stdout)
    assert [case["name"] for case in found["cases"]] == ["products and Python"]
    assert found["rates"]["gemm_flops_per_s"].keys() == {"float32", "bfloat16"}
    assert "ours/ours=" in done.stderr
