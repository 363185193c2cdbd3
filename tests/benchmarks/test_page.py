"""Results on disk, and the page that is written from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_up_result import RATIO, RESULT

from benchmarks.catalogue import BENCHES, WAITING
from benchmarks.page import write_page
from benchmarks.peer_key import NOTES, PEERS
from benchmarks.ratio import summary
from benchmarks.report import difficulty, number
from benchmarks.result import BenchResult, CaseResult, PeerResult, ResultsError, Verdict, append, newest

QUIET = summary([0.99, 1.0, 1.01], ours_s=0.1)
"""Ours over itself."""


def test_results_come_back_from_disk_the_newest_of_each_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for result in (replace(RESULT, commit="older"), replace(RESULT, bench="encode"), RESULT):
        append(result, path)
    assert [result.to_json() for result in newest(path)] == [replace(RESULT, bench="encode").to_json(), RESULT.to_json()]


def page_of(*results: BenchResult, folder: Path) -> list[str]:
    """The lines of the page."""
    write_page(results, folder / "benchmarks.md")
    return (folder / "benchmarks.md").read_text().splitlines()


def section(lines: list[str], title: str) -> list[str]:
    """What stands under a heading."""
    start = lines.index(title) + 1
    return lines[start : next((i for i in range(start, len(lines)) if lines[i].startswith("## ")), None)]


def with_peers(*peers: PeerResult) -> BenchResult:
    """A result of one case."""
    return replace(RESULT, cases=[CaseResult(name="small", itself=QUIET, peers=peers)])


def rows(lines: list[str], title: str) -> list[str]:
    """Of the table under ``title``, without its head."""
    start = lines.index(f"{title}:") + 4
    return lines[start : next(i for i in range(start, len(lines)) if not lines[i])]


def test_the_page_says_command_machine_ratios_floors_and_counts(tmp_path: Path) -> None:
    lines = section(page_of(RESULT, folder=tmp_path), "## pack_and_load")
    for expected in (
        "`python -m benchmarks pack_and_load` at commit `abc1234`, 2026-01-02; CPU Some CPU, AMX no. Twinkle over itself: 1.00 to 1.00."
        " Of all: 1 of 3 goals reached, 1 missed, 1 not judged, 1 case failed; 1 of 2 counts hold.",
        "| small | a\\|b | 2.50x [2.00,3.00] | 2 | 0.46 | OK |",
        "| small | slow goal | 2.50x [2.00,3.00] | 9 | 0.46 | MISSED |",
        "| small | absent | not installed | 1 | 0.46 | NOT JUDGED |",
        "| small | for orientation | 2.50x [2.00,3.00] |  | 0.46 |  |",
        "| small | fill | 99.95 % at least 99.9 | OK |",
        "| broken |  |  |  |  | FAILED: AssertionError: off by one |",
    ):
        assert expected in lines


def test_the_summary_comes_first_with_the_smallest_ratio_and_the_hardest_goal_of_each_peer(tmp_path: Path) -> None:
    """The case without a goal has the smallest ratio: it counts as much as the others."""
    low = summary([1.1, 1.2, 1.3], ours_s=0.1)
    peers = {
        "a": PeerResult(peer="trl", ratio=RATIO, goal=1.0, verdict=Verdict.OK),
        "b": PeerResult(peer="trl", ratio=RATIO, goal=9.0, verdict=Verdict.MISSED),
        "c": PeerResult(peer="trl", ratio=low, goal=None, verdict=Verdict.OK),
    }
    result = replace(RESULT, cases=[CaseResult(name=name, itself=QUIET, peers=[peer]) for name, peer in peers.items()])
    lines = page_of(result, folder=tmp_path)
    assert next(line for line in lines if line.startswith("## ")) == "## Summary"
    assert rows(lines, "Goals") == [
        "| [pack_and_load](#pack_and_load) | trl | 3 | 1.20x [1.10,1.30] | 2.50x [2.00,3.00] | 9 | MISSED | `abc1234` |"
    ]
    assert rows(lines, "Also measured, no goal") == ["| [pack_and_load](#pack_and_load) | trl | 1 | 1.20x [1.10,1.30] | c | `abc1234` |"]


def test_nothing_that_was_measured_is_missing_from_the_summary(tmp_path: Path) -> None:
    lines = section(page_of(RESULT, folder=tmp_path), "## Summary")
    shown = [line.split(" | ")[1] for line in lines if line.startswith("| [")]
    assert shown == ["a\\|b", "slow goal", "absent", "for orientation", "2"]  # the last row counts the cases
    assert rows(lines, "Also measured, no goal") == [
        "| [pack_and_load](#pack_and_load) | for orientation | 1 | 2.50x [2.00,3.00] | small | `abc1234` |"
    ]


LIMITS = "Own limits, which are no programs but times and allowances that Twinkle sets itself"


def test_own_limits_stand_apart_from_programs(tmp_path: Path) -> None:
    limit = PeerResult(peer="0.1 s", ratio=RATIO, goal=1.0, verdict=Verdict.OK, is_limit=True)
    program = PeerResult(peer="trl", ratio=RATIO, goal=2.0, verdict=Verdict.OK)
    lines = page_of(with_peers(limit, program), folder=tmp_path)
    assert rows(lines, LIMITS) == ["| [pack_and_load](#pack_and_load) | 0.1 s | 1 | 2.50x [2.00,3.00] | 1 | OK | `abc1234` |"]
    assert [row.split(" | ")[1] for row in rows(lines, "Goals")] == ["trl"]
    own = section(lines, "## pack_and_load")
    start = own.index("| case | own limit | limit / Twinkle | goal | verdict |")
    assert own[start + 2] == "| small | 0.1 s | 2.50x [2.00,3.00] | 1 | OK |"
    assert sum("0.1 s" in line for line in own) == 1
    assert any("2 of 2 goals reached; 1 of them own limits" in line for line in own)


def test_an_own_limit_survives_the_disk_and_an_old_line_has_none(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append(with_peers(PeerResult(peer="0.1 s", ratio=RATIO, goal=1.0, verdict=Verdict.OK, is_limit=True)), path)
    [[peer]] = [case.peers for case in newest(path)[0].cases]
    assert peer.is_limit
    path.write_text(path.read_text().replace(', "is_limit": true', ""))
    [[peer]] = [case.peers for case in newest(path)[0].cases]
    assert not peer.is_limit


def test_ratios_of_a_case_that_is_not_quiet_are_marked_goal_or_none(tmp_path: Path) -> None:
    peer = PeerResult(peer="trl", ratio=RATIO, goal=None, verdict=Verdict.OK)
    lines = page_of(replace(RESULT, cases=[CaseResult(name="small", itself=RATIO, peers=[peer])]), folder=tmp_path)
    assert "| small | trl | 2.50x [2.00,3.00], too noisy |  |  |  |" in lines


def test_a_section_says_what_the_names_of_its_peers_mean_and_what_its_ratios_rest_on(tmp_path: Path) -> None:
    peers = [PeerResult(peer=name, ratio=RATIO, goal=None, verdict=Verdict.OK) for name in ("TRL", "nobody's")]
    lines = section(page_of(replace(with_peers(*peers), bench="linear_ce_logprob"), folder=tmp_path), "## linear_ce_logprob")
    assert f"- **TRL**: {PEERS['linear_ce_logprob']['TRL']}" in lines
    assert not any("nobody's**" in line or "twinkle-kit" in line for line in lines)
    assert set(NOTES["linear_ce_logprob"]) <= set(lines)


@pytest.mark.parametrize("said", ["Models are small and random", "than it pins: numpy", "By arithmetic, not", "within one run"])
def test_the_page_says_what_its_ratios_rest_on(said: str, tmp_path: Path) -> None:
    assert any(said in line for line in page_of(RESULT, folder=tmp_path))


def test_a_goal_is_the_harder_the_worse_its_verdict_and_the_farther_it_is_from_reach() -> None:
    """The upper end of the interval, 3, is what is compared: a goal of 9 is reached by a third."""
    order = [
        PeerResult(peer="far", ratio=RATIO, goal=9.0, verdict=Verdict.MISSED),
        PeerResult(peer="near", ratio=RATIO, goal=4.0, verdict=Verdict.MISSED),
        PeerResult(peer="too noisy", ratio=RATIO, goal=1.0, verdict=Verdict.NOT_JUDGED),
        PeerResult(peer="absent", ratio=None, goal=100.0, verdict=Verdict.NOT_JUDGED),
        PeerResult(peer="within", ratio=RATIO, goal=2.9, verdict=Verdict.OK),
        PeerResult(peer="reached", ratio=RATIO, goal=1.0, verdict=Verdict.OK),
    ]
    mixed = [order[i] for i in (3, 1, 5, 0, 4, 2)]
    assert [peer.peer for peer in sorted(mixed, key=difficulty)] == [peer.peer for peer in order]
    assert order[0].margin == pytest.approx(1 / 3)


def test_a_failed_check_is_in_the_summary_whatever_the_goals_say(tmp_path: Path) -> None:
    fine = PeerResult(peer="trl", ratio=RATIO, goal=1.0, verdict=Verdict.OK)
    cases = [CaseResult(name="good", itself=QUIET, peers=[fine]), CaseResult(name="broken", failure="AssertionError: off by one")]
    lines = page_of(replace(RESULT, cases=cases), folder=tmp_path)
    assert rows(lines, "Checks and counts") == ["| [pack_and_load](#pack_and_load) | 2 | 1 | 0 of 0 | 0 | FAILED | `abc1234` |"]


def test_what_was_not_won_is_listed_by_how_it_was_lost(tmp_path: Path) -> None:
    """2.5 of [2, 3]: a goal of 2.8 is within the interval but above the median, one of 2.2 below it; 0.5 of [0.4, 0.6] is slower."""
    slow, even = summary([0.4, 0.5, 0.6], ours_s=0.1), summary([0.9, 1.1, 1.3], ours_s=0.1)
    peers = [
        PeerResult(peer="upper end", ratio=RATIO, goal=2.8, verdict=Verdict.OK),
        PeerResult(peer="in the interval", ratio=RATIO, goal=2.2, verdict=Verdict.OK),
        PeerResult(peer="slower", ratio=slow, goal=None, verdict=Verdict.OK),
        PeerResult(peer="missed and slower", ratio=slow, goal=0.9, verdict=Verdict.MISSED),
        PeerResult(peer="slower as allowed", ratio=slow, goal=0.3, verdict=Verdict.OK),
        PeerResult(peer="perhaps faster", ratio=even, goal=None, verdict=Verdict.OK),
        PeerResult(peer="perhaps faster, as asked", ratio=even, goal=0.8, verdict=Verdict.OK),
        PeerResult(peer="floor", ratio=slow, goal=0.3, verdict=Verdict.OK, is_limit=True),
    ]
    lines = page_of(RESULT, replace(with_peers(*peers), bench="encode"), folder=tmp_path)
    lost = section(lines, "## Where we are not faster")
    assert [
        line.strip("| ").replace(" |  |", " |") for line in lost if line.startswith("| ") and "---" not in line and "| peer" not in line
    ] == [
        "benchmark | case | what",
        "pack_and_load | small | copies: 3 at most 2",
        "pack_and_load | broken | AssertionError: off by one",
        "encode | small | missed and slower | 0.50x [0.40,0.60] | 0.9",
        "pack_and_load | small | slow goal | 2.50x [2.00,3.00] | 9",
        "encode | small | upper end | 2.50x [2.00,3.00] | 2.8",
        "pack_and_load | small | absent | not installed | 1",
        "encode | small | slower | 0.50x [0.40,0.60]",
        "encode | small | slower as allowed | 0.50x [0.40,0.60] | 0.3",
        "encode | small | perhaps faster | 1.10x [0.90,1.30]",
        "encode | small | perhaps faster, as asked | 1.10x [0.90,1.30] | 0.8",
    ]
    assert "| small | upper end | 2.50x [2.00,3.00] | 2.8 |  | OK within noise |" in lines
    assert "| small | in the interval | 2.50x [2.00,3.00] | 2.2 |  | OK within noise |" in lines


def test_what_there_is_no_result_of_is_named(tmp_path: Path) -> None:
    lines = section(page_of(RESULT, folder=tmp_path), "## Without a result")
    assert {f"- {name}: not run yet." for name in BENCHES if name != RESULT.bench} <= set(lines)
    assert {f"- {name}: waits for {what}." for name, what in WAITING.items()} <= set(lines)


@pytest.mark.parametrize(("commits", "said"), [(("a", "a"), False), (("a", "b"), True)])
def test_results_of_several_commits_are_said_to_be(commits: tuple[str, str], said: bool, tmp_path: Path) -> None:
    results = [replace(RESULT, bench=bench, commit=commit) for bench, commit in zip(("encode", "pack_and_load"), commits, strict=True)]
    assert any("These results are of 2 commits" in line for line in page_of(*results, folder=tmp_path)) is said


def test_the_machine_is_said_once_whatever_its_load(tmp_path: Path) -> None:
    results = [
        replace(RESULT, bench=bench, machine={"CPU": "x", "load": load}) for bench, load in (("encode", "0.1"), ("pack_and_load", "3.2"))
    ]
    lines = page_of(*results, folder=tmp_path)
    assert [line for line in section(lines, "## Summary") if line.startswith("- ")] == ["- CPU x"]
    assert any("Load of the machine at the start: 3.2." in line for line in section(lines, "## pack_and_load"))


def test_a_result_of_few_pairs_does_not_replace_one_of_enough(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    ten = summary([1.0] * 10, ours_s=0.1)
    whole, look = (
        replace(RESULT, commit=name, cases=[CaseResult(name="a", itself=itself)]) for name, itself in (("ten", ten), ("three", RATIO))
    )
    for result in (whole, look):
        append(result, path)
    assert [result.commit for result in newest(path)] == ["three"]
    assert [result.commit for result in newest(path, min_pairs=10)] == ["ten"]


@pytest.mark.parametrize(("commit", "size"), [(RESULT.commit, "full"), ("later", "quick")])
def test_a_full_result_is_replaced_by_a_quick_one_of_another_commit_only(commit: str, size: str, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    for result in (replace(RESULT, size="full"), replace(RESULT, commit=commit)):
        append(result, path)
    assert [result.size for result in newest(path)] == [size]


@pytest.mark.parametrize("line", [RESULT.to_json()[:100], "{}", '{"bench": "encode"}'], ids=["cut off", "empty", "another version"])
def test_a_line_that_is_no_result_is_told_with_its_number(line: str, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(f"{RESULT.to_json()}\n{line}\n")
    with pytest.raises(ResultsError, match=r"results.jsonl, line 2: .*delete the line"):
        newest(path)


def test_a_noisy_result_says_so(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    write_page([replace(RESULT, noisy=True, drift=0.31, drifting="copy")], path)
    assert "changed meanwhile (copy by 31%), twice: this result is noisy." in path.read_text()
    assert "| absent | 1 | not installed | not installed | 1 | NOT JUDGED, noisy |" in path.read_text()
    assert "| for orientation | 1 | 2.50x [2.00,3.00], noisy | small |" in path.read_text()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (0.0314, "0.031"), (0.0996, "0.10"), (9.994, "9.99"), (9.996, "10.0"), (99.96, "100")],
)
def test_a_ratio_has_two_or_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown
