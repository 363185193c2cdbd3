"""Results on disk, and the page that is written from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from made_up_result import RESULT

from benchmarks.catalogue import BENCHES, WAITING
from benchmarks.page import write_page
from benchmarks.result import append, newest


def test_results_come_back_from_disk_the_newest_of_each_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for result in (replace(RESULT, commit="older"), replace(RESULT, bench="encode"), RESULT):
        append(result, path)
    assert [result.to_json() for result in newest(path)] == [replace(RESULT, bench="encode").to_json(), RESULT.to_json()]


def test_the_page_says_command_machine_ratios_floors_counts_and_what_was_missed(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    write_page([RESULT], path)
    lines = path.read_text().splitlines()
    for expected in (
        "`python -m benchmarks pack_and_load` at commit `abc1234`, 2026-01-02; CPU Some CPU, AMX no. Twinkle over itself: 1.00 to 1.00.",
        "| small | a\\|b | 2.50x [2.00,3.00] | 2 | 0.46 | OK |",
        "| small | slow goal | 2.50x [2.00,3.00] | 9 | 0.46 | MISSED |",
        "| small | absent | not installed | 1 | 0.46 | NOT JUDGED |",
        "| small | for orientation | 2.50x [2.00,3.00] |  | 0.46 |  |",
        "| small | fill | 99.95 % at least 99.9 | OK |",
        "| broken |  |  |  |  | FAILED: AssertionError: off by one |",
        "- pack_and_load, small: 2.50 times as fast as slow goal, the goal is 9.",
        "- pack_and_load, small: copies is 3 <=2.",
        "- pack_and_load, broken: failed (AssertionError: off by one).",
    ):
        assert expected in lines
    assert len([line for line in lines if line.endswith(": not run yet.")]) >= len(BENCHES) - 1
    assert {f"- {name}: waits for {what}." for name, what in WAITING.items()} <= set(lines)


def test_a_noisy_result_says_so(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    write_page([replace(RESULT, noisy=True, drift=0.31)], path)
    assert "changed by 31% meanwhile, twice: this result is noisy." in path.read_text()
