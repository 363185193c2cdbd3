"""Each peer that a benchmark names is explained on the page. Names are read from the source: to set the cases up takes minutes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from import_graph import ROOT

from benchmarks.catalogue import BENCHES, ON_GPU
from benchmarks.peer_key import NOTES, PEERS

GPU_GOALS = {"liger", "eager", "torch.compile", "cut-cross-entropy"}
"""gpu_kernels hands its goals to a function of its own."""


def constants(tree: ast.Module) -> dict[str, str]:
    """Names of the module that stand for texts: ``PADDED = "padded"``, ``A, B = "a", "b"``."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            [target], value = node.targets, node.value
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            values = value.elts if isinstance(value, ast.Tuple) else [value]
            for name, text in zip(names, values, strict=False):
                if isinstance(name, ast.Name) and isinstance(text, ast.Constant) and isinstance(text.value, str):
                    found[name.id] = text.value
    return found


def peers_in(path: Path) -> set[str]:
    """Of goals, of mappings with ours among the keys or PEERS in their name, and of ``variants[...]``, as far as they are plain text."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = constants(tree)

    def nodes() -> Iterator[ast.expr | None]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Goal":
                yield from (keyword.value for keyword in node.keywords if keyword.arg == "peer")
            elif isinstance(node, ast.Dict) and any(isinstance(key, ast.Name) and key.id == "OURS" for key in node.keys):
                yield from node.keys
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id.endswith("PEERS"):
                yield from node.value.keys if isinstance(node.value, ast.Dict) else []
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
                yield node.slice if node.value.id == "variants" else None

    found = list(nodes())
    named = {known[node.id] for node in found if isinstance(node, ast.Name) and node.id in known}
    return named | {node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("bench", [*BENCHES, *ON_GPU])
def test_each_peer_is_explained(bench: str) -> None:
    seen = peers_in(ROOT / "benchmarks" / f"{bench}.py") | (GPU_GOALS if bench in ON_GPU else set())
    assert seen, "this test no longer sees the peers"
    assert seen - PEERS[bench].keys() == set(), f"explain them in benchmarks/peer_key.py, under {bench!r}"


def test_only_benchmarks_are_explained() -> None:
    assert PEERS.keys() == {*BENCHES, *ON_GPU}
    assert NOTES.keys() <= PEERS.keys()


def test_names_are_read_from_a_source(tmp_path: Path) -> None:
    path = tmp_path / "bench.py"
    path.write_text(
        'A, B = "a", "b"\nPEERS: dict = {"c": 1}\ngoals = [Goal(peer=A, at_least=1), Goal(peer="d", at_least=2)]\n'
        'variants = {OURS: 1, B: 2, "e": 3}\nvariants["f"] = 4\nother["g"] = {"h": 5}\n'
    )
    assert peers_in(path) == {"a", "b", "c", "d", "e", "f"}
