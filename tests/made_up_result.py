"""A result of a benchmark as no machine gave it: one of each kind of verdict."""

from __future__ import annotations

from benchmarks.bench import Count
from benchmarks.rates import Rates
from benchmarks.ratio import summary
from benchmarks.result import BenchResult, CaseResult, PeerResult, Verdict

RATIO = summary([2.0, 2.5, 3.0], ours_s=0.1)
RESULT = BenchResult(
    bench="pack_and_load",
    size="quick",
    when="2026-01-02T03:04:05+00:00",
    command="python -m benchmarks pack_and_load",
    commit="abc1234",
    machine={"CPU": "Some CPU", "AMX": "no"},
    rates=Rates(gemm_flops_per_s={"float32": {"square": 1e11}}, copy_bytes_per_s=1e10, tiny_op_us=1.0),
    drift=0.02,
    noisy=False,
    cases=[
        CaseResult(
            name="small",
            counts=[Count(name="fill", value=99.95, unit="%", at_least=99.9), Count(name="copies", value=3, at_most=2)],
            itself=summary([0.99, 1.0, 1.01], ours_s=0.1),
            peers=[
                PeerResult(peer="a|b", ratio=RATIO, goal=2.0, verdict=Verdict.OK),
                PeerResult(peer="slow goal", ratio=RATIO, goal=9.0, verdict=Verdict.MISSED),
                PeerResult(peer="absent", ratio=None, goal=1.0, verdict=Verdict.NOT_JUDGED),
                PeerResult(peer="for orientation", ratio=RATIO, goal=None, verdict=Verdict.OK),
            ],
            floor=0.46,
            tokens_per_s=12.5,
        ),
        CaseResult(name="broken", failure="AssertionError: off by one\nand more"),
    ],
)
