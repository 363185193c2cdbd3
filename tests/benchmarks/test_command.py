"""The command: exit codes, what is kept, and that each name has a benchmark."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from import_graph import ROOT
from made_up_result import RESULT

from benchmarks import command, machine
from benchmarks.bench import NUM_WARM_UPS, OURS, Size
from benchmarks.catalogue import BENCHES, ON_GPU, SELF_TEST, WAITING
from benchmarks.harness import GATE_FACTOR, NUM_PAIRS
from benchmarks.machine import commit
from benchmarks.rates import MAX_DRIFT
from benchmarks.ratio import MAX_SELF_DIFFERENCE, summary
from benchmarks.result import BenchResult, CaseResult, append, newest
from benchmarks.run import BenchDied, BenchNotRun, environment, once_more_if_noisy, run_bench

GOOD = replace(RESULT, cases=[CaseResult(name="good")])


class Call:
    """Calls of the command in which each benchmark has the result that it is given here."""

    def __init__(self, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results: dict[str, BenchResult] = {}
        self.made: list[dict[str, Any]] = []
        self.kept = kept
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(command, "RESULTS", kept)
        monkeypatch.setattr(command, "run_bench", self._run)

    def _run(self, name: str, **options: Any) -> BenchResult:
        self.made.append(options)
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
    assert "there is no benchmark 'encod'. Did you mean 'encode'?" in capsys.readouterr().err


def test_the_list_names_each_once(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*BENCHES, *ON_GPU, *WAITING]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BENCHES, *ON_GPU, SELF_TEST])
def test_each_name_is_a_module_with_cases_that_no_peer_is_needed_to_import(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").cases)


def test_packing_is_timed_alone_where_binpacking_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import pack_and_load

    monkeypatch.setattr(pack_and_load, "find_spec", lambda name: None)
    case = pack_and_load.packing_case(1_000, 512, None)
    assert list(case.variants) == [OURS]
    assert [goal.peer for goal in case.goals] == ["binpacking"]
    case.check()
    assert {count.name for count in case.counts()} == {"fill", "fill in windows of 1,000"}


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


def test_a_caller_who_names_nothing_is_shown_what_there_is(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert all(name in shown.err for name in ["usage", *BENCHES, *WAITING])


def test_the_numbers_of_the_protocol() -> None:
    """They are quoted with every result, so none of them is changed in passing."""
    assert (NUM_PAIRS, NUM_WARM_UPS, GATE_FACTOR) == ({"quick": 10, "full": 30}, 2, 0.75)
    assert (MAX_SELF_DIFFERENCE, MAX_DRIFT) == (0.03, 0.15)


@pytest.mark.parametrize("size", ["quick", "full"])
def test_the_size_says_the_number_of_pairs_and_the_gate_the_part_of_the_goals(size: Size, call: Call) -> None:
    call.results = {"encode": GOOD}
    call("encode", "--size", size)
    call("encode", "--size", size, "--pairs", "4", "--gate")
    assert [(made["size"], made["num_pairs"], made["goal_factor"]) for made in call.made] == [
        (size, NUM_PAIRS[size], 1.0),
        (size, 4, 0.75),
    ]


@pytest.mark.parametrize("pairs", ["0", "1", "7", "-2"])
def test_each_side_is_first_as_often_as_the_other(pairs: str, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call("encode", "--pairs", pairs)
    assert "--pairs is an even number" in capsys.readouterr().err


def test_the_last_line_is_what_gave_the_verdict_of_all(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    [small, _] = RESULT.cases
    held = replace(small, counts=[count for count in small.counts if count.holds])
    call.results = {"pack_and_load": replace(RESULT, cases=[held], took_s=12.3), "encode": RESULT, "aa": GOOD}
    call("pack_and_load")
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "pack_and_load: 1 of 3 goals reached, 1 missed, 1 not judged; 1 of 1 counts hold; 12 s",
        "pack_and_load ours/slow goal=2.50x [2.00,3.00] goal>=9 floor=0.46 pairs=3 MISSED",
    ]
    call.results["pack_and_load"] = replace(RESULT, cases=[small])
    call("pack_and_load")
    assert capsys.readouterr().out.splitlines()[-1] == "pack_and_load FAILED: small: copies=3 <=2"
    call.results["encode"] = replace(RESULT, cases=RESULT.cases[1:])
    call("encode")
    assert capsys.readouterr().out.splitlines()[-1] == "encode FAILED: broken: AssertionError: off by one"
    call("aa")
    assert capsys.readouterr().out.splitlines()[-2:] == ["aa: nothing is judged", "aa OK"]
    itself = [CaseResult(name=str(ratio), itself=summary([ratio] * 10, ours_s=0.1)) for ratio in (1.01, 0.9, 1.02)]
    call.results = {"aa": replace(RESULT, cases=itself)}
    call("aa")
    assert capsys.readouterr().out.splitlines()[-1] == "aa ours/ours=0.90x [0.90,0.90] pairs=10 NOT JUDGED"


@pytest.mark.parametrize(
    ("ratios", "said", "code"),
    [
        ((1.0, 1.01), "this machine is quiet enough: a difference of 3% can be told", 0),
        ((0.92, 1.08), "right now a difference of less than 8% cannot be told on this machine", 0),
        ((1.1, 1.1), "this machine is too busy to judge", 3),
    ],
    ids=["quiet", "so-so", "busy"],
)
def test_the_self_test_says_in_words_what_can_be_told(
    ratios: tuple[float, float], said: str, code: int, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    itself = summary([*ratios] * 5, ours_s=0.1)
    call.results = {SELF_TEST: replace(RESULT, cases=[CaseResult(name="a", itself=itself)])}
    assert call(SELF_TEST) == code
    assert capsys.readouterr().out.splitlines()[-2].startswith(f"{SELF_TEST}: {said}")


def test_all_ends_with_the_last_line_of_each(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call.results = {name: GOOD for name in BENCHES if name != "encode"}
    call("all")
    assert capsys.readouterr().out.splitlines()[-len(BENCHES) :] == [
        "encode FAILED: it has no result" if name == "encode" else f"{name} OK" for name in BENCHES
    ]


def test_json_has_the_verdict(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call.results = {"encode": RESULT}
    call("encode", "--json")
    assert json.loads(capsys.readouterr().out)["verdict"] == "FAILED"


def test_the_fields_of_a_line_of_json_are_explained() -> None:
    """But for those that say all by their name."""
    line = json.loads(RESULT.to_json())
    [case, _] = line["cases"]
    [peer, *_] = case["peers"]
    explained = ROOT.joinpath("CONTRIBUTING.md").read_text(encoding="utf-8")
    plain = {"bench", "size", "when", "command", "commit", "machine", "cases", "took_s", "name", "peer", "ratio"}
    fields = {*line, *case, *peer, *peer["ratio"]} - plain
    assert {field for field in fields if f"`{field}`" not in explained} == set()


def test_a_result_that_cannot_be_kept_is_still_shown(call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call.results = dict.fromkeys(BENCHES, GOOD)
    call.kept.mkdir()  # a file that cannot be written, for whoever asks
    assert call("all", "--json") == 0
    shown = capsys.readouterr()
    assert [json.loads(line)["bench"] for line in shown.out.splitlines()] == list(BENCHES)
    assert "encode: the result is not kept in" in shown.err


def test_a_page_without_results_says_how_to_get_some(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("page") == 2
    assert "run `python -m benchmarks all`" in capsys.readouterr().err


def test_a_page_is_of_results_with_enough_pairs(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "PAGE", page := tmp_path / "page.md")
    append(RESULT, call.kept)  # of three pairs
    assert call("page") == 0
    assert "- pack_and_load: not run yet." in page.read_text()


def test_an_interrupted_call_ends_with_130_and_no_traceback(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str, **options: object) -> BenchResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_bench", interrupted)
    assert call("encode") == 130
    assert "interrupted" in capsys.readouterr().err


def test_other_systems_than_linux_are_told(call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert call("encode") == 2
    assert "they run on Linux, this is darwin" in capsys.readouterr().err


def test_a_benchmark_sees_one_thread_no_device_no_settings_and_every_check() -> None:
    callers = {
        "OMP_NUM_THREADS": "8",
        "PYTHONOPTIMIZE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TWINKLE_DEVICE": "cuda",
        "CUDA_VISIBLE_DEVICES": "3",
        "HOME": "/home/me",
    }
    rest = {
        "MKL_NUM_THREADS": "1",
        "RAYON_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONOPTIMIZE": "",
        "PYTHONDONTWRITEBYTECODE": "",
        "HOME": "/home/me",
    }
    assert environment("encode", callers) == rest | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    assert environment("gpu_kernels", callers) == rest | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "3"}


def test_the_child_is_started_in_that_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nenv > {tmp_path}/env; echo $@ > {tmp_path}/arguments; exit 7\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    with pytest.raises(BenchDied, match="encode: the benchmark ended with 7"):
        run_bench("encode", size="full", num_pairs=30, goal_factor=0.75, shown_on=sys.stdout)
    assert {"OMP_NUM_THREADS=1", "CUDA_VISIBLE_DEVICES="} <= set((tmp_path / "env").read_text().splitlines())
    assert "-m benchmarks.child encode --size full --pairs 30 --goal-factor 0.75" in (tmp_path / "arguments").read_text()


@pytest.mark.parametrize(
    ("end", "error", "said"),
    [
        ("exit 3", BenchNotRun, "^gpu_kernels$"),
        ("kill -9 $$", BenchDied, r"was killed by signal 9 \(SIGKILL\), as the system does where memory runs out$"),
        ("kill -11 $$", BenchDied, r"was killed by signal 11 \(SIGSEGV\)$"),
    ],
    ids=["cannot run", "killed", "crashed"],
)
def test_how_a_child_ended_without_a_result_is_told(
    end: str, error: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{end}\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(error, match=said):
        run_bench("gpu_kernels", size="quick", num_pairs=10, goal_factor=1.0, shown_on=sys.stdout)


def test_what_cannot_run_ends_with_3_and_is_not_kept(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cannot_run(name: str, **options: object) -> BenchResult:
        raise BenchNotRun(name)

    monkeypatch.setattr(command, "run_bench", cannot_run)
    assert call("gpu_kernels") == 3
    assert capsys.readouterr().err == "gpu_kernels NOT JUDGED\n"
    assert not call.kept.exists()


@pytest.mark.slow
def test_a_benchmark_of_gpus_says_in_a_sentence_that_there_is_none() -> None:
    program = "import sys, benchmarks.child as child; sys.exit(child.main())"
    options = ["gpu_kernels", "--size", "quick", "--pairs", "2", "--goal-factor", "1", "--into", os.devnull]
    done = subprocess.run(
        [sys.executable, "-c", program, *options],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("gpu_kernels: these kernels are timed on a CUDA device")
    assert len(done.stderr.splitlines()) == 1


def test_outside_of_a_checkout_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit(tmp_path) == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path) == "unknown"


def test_the_core_is_one_that_may_be_used_though_it_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LOOK_S", 0.0)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 7})
    idle = iter([{0: 0, 3: 5, 7: 5}, {0: 9, 3: 6, 7: 9}, {0: 0}, {0: 9}])
    monkeypatch.setattr(machine, "_idle_ticks", lambda: next(idle))
    assert (machine.quietest_core(), machine.quietest_core()) == (7, 3)


PROBE = """
import os
import torch
from benchmarks.bench import Case, Count, Goal

def cases(size):
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    counts = [Count(name="cores", value=cores), Count(name="threads", value=threads)]
    variants = {"ours": lambda: 1.0, "peer": lambda: 2.0}
    yield Case(name=size, variants=variants, check=lambda: None, counts=lambda: counts, goals=[Goal(peer="peer", at_least=3)])
"""


@pytest.mark.slow
def test_a_child_has_one_core_and_one_thread_and_measures_the_rates_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    options = ["probe", "--size", "quick", "--pairs", "4", "--goal-factor", "0.5", "--into", str(tmp_path / "results.jsonl")]
    start = f"import sys, benchmarks; benchmarks.__path__.append({str(tmp_path)!r}); sys.argv[1:] = {options}"
    program = f"{start}; import benchmarks.child as child; child.main()"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    assert done.stdout.splitlines() == [
        "probe/quick cores=1 OK",
        "probe/quick threads=1 OK",
        "probe/quick ours/ours=1.00x [1.00,1.00] pairs=4 OK",
        "probe/quick ours/peer=2.00x [2.00,2.00] goal>=1.5 pairs=4 OK",
    ]
    [result] = newest(tmp_path / "results.jsonl")
    assert result.drift > 0
    assert (result.size, result.command) == ("quick", "python -m benchmarks probe --size quick --pairs 4")
    assert result.commit == commit()
    assert result.took_s is not None
    assert {"CPU", "load", "torch", "transformers"} <= set(result.machine)


def children(pid: int) -> list[int]:
    """Processes that this one has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_a_stopped_benchmark_leaves_no_process_behind() -> None:
    command = [sys.executable, "-m", "benchmarks", SELF_TEST]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        deadline = time.monotonic() + 300
        while not (started := children(parent.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)  # it imports, and would not notice the end of its parent
        parent.terminate()
        _, said = parent.communicate(timeout=300)
    assert parent.returncode == 130
    assert started
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    assert "interrupted" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_child_runs_a_benchmark_and_prints_what_it_found() -> None:
    options = ["--pairs", "2", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", SELF_TEST, *options], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode in {0, 3}, done.stderr
    found = json.loads(done.stdout)
    assert [case["name"] for case in found["cases"]] == ["products and Python"]
    assert found["rates"]["gemm_flops_per_s"].keys() == {"float32", "bfloat16"}
    assert "ours/ours=" in done.stderr
