"""docs/kernels.md: its example runs, and its table is what the kernels say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import twinkle
from twinkle.core.contracts.kernel import LayerKernel
from twinkle.core.runtime.context import ProcessContext
from twinkle.testing import KernelExample, Specimen, checks_of

PAGE = (Path(__file__).parents[3] / "docs" / "kernels.md").read_text(encoding="utf-8")


def test_the_example_of_a_kernel_runs_and_passes_the_checks() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"__name__": "page", "KernelExample": KernelExample}
    for mark in ("class ReluSquaredKernel", "EXAMPLES ="):
        [code] = [block for block in blocks if mark in block]
        exec(compile(code, "docs/kernels.md", "exec"), names)
    kernel, example = names["ReluSquaredKernel"], names["EXAMPLES"]["kernel:relu_squared"]
    assert twinkle.resolve("kernel", kernel).name == "ReluSquaredKernel"
    for check in checks_of("kernel"):
        if check.kind == "kernel" and check.tier == "cpu":
            check(Specimen(kind="kernel", name="relu_squared", component=kernel, example=example))


def test_the_table_lists_every_built_in_kernel_and_its_layers(context: ProcessContext) -> None:
    rows = {name: set(re.findall(r"`(\w+)`", layers)) for name, layers in re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", PAGE, re.MULTILINE)}
    kernels = {c.name: twinkle.build("kernel", c.name) for c in context.registry.components("kernel") if c.plugin.dist is None}
    assert rows == {name: set(kernel.layers) if isinstance(kernel, LayerKernel) else set() for name, kernel in kernels.items()}
    claimed = [layer for layers in rows.values() for layer in layers]
    assert len(claimed) == len(set(claimed)), "two built-in kernels claim one layer"
