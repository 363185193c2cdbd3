"""What ``import twinkle`` and a look-up cost, and whether they stay so beside 1,000 and 10,000 more components.

``import twinkle`` loads no library that a component needs; who imports a component pays for that then. So the lines that users write next
are timed too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench import OURS, Case, Count, Goal, Size, Variant, budget, timed
from benchmarks.fresh_python import output_of, timed_in_fresh_python
from benchmarks.machine import ROOT
from benchmarks.sidecar import peer_folder
from twinkle import hookimpl
from twinkle.core.registry import Registry

NUM_MORE: dict[Size, tuple[int, ...]] = {"quick": (10_000,), "full": (1_000, 10_000)}
NUM_LOOK_UPS = 5_000
LOOK_UP = "twinkle.resolve('loss', 'cross_entropy')"
LAST = "import twinkle; print(twinkle.resolve('loss', 'loss_{}').entry)"
COST = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)
{code}
modules, num_opened = sorted(sys.modules), len(opened)
resident = open("/proc/self/status").read().partition("VmRSS:")[2].split()[0]
import json
print(json.dumps({{"modules": modules, "MB": int(resident) / 1024, "opened": num_opened}}))
"""
HEAVY = {"torch", "numpy", "transformers", "datasets", "peft", "ray", "pandas", "pyarrow"}


def cases(size: Size) -> Iterator[Case]:
    """The import, then look-ups: warm, the first of a kind, the first of a process; with more and more components."""
    yield import_case(size)
    yield first_model_case()
    yield first_data_case()
    yield warm_case()
    for num_more in NUM_MORE[size]:
        yield warm_beside_case(num_more)
    yield first_of_a_kind_case()
    for num_more in NUM_MORE[size]:
        with TemporaryDirectory() as root:
            yield first_of_a_process_case(Path(root), num_more)


def import_case(size: Size) -> Case:
    """``import twinkle`` against the same line with the package of a peer."""
    variants: dict[str, Variant] = {OURS: timed_in_fresh_python("import twinkle"), "0.1 s": budget(0.1)}
    if (published := peer_folder("twinkle-kit")) is not None:
        variants["twinkle-kit"] = timed_in_fresh_python("import twinkle", published)
    if size == "full":
        variants |= {name: timed_in_fresh_python(f"import {name}") for name in ("transformers", "torch")}
        if (trl := peer_folder("trl")) is not None:
            variants["trl"] = timed_in_fresh_python("import trl", trl)

    def check() -> None:
        found = HEAVY & set(cost_of("import twinkle").modules)
        assert not found, f"import twinkle imports {found}"
        if published is not None:
            place = output_of("import twinkle; print(twinkle.__file__)", published).strip()
            assert Path(place).is_relative_to(published), f"{place} is not the twinkle of the peer"

    def counts() -> Sequence[Count]:
        cost = cost_of("import twinkle")
        found = [
            Count(name="modules", value=len(cost.modules), at_most=350),
            Count(name="resident", value=cost.resident_mb, unit="MB", at_most=40),
            Count(name="files opened", value=cost.num_opened),
        ]
        if published is not None:
            theirs = cost_of("import twinkle", published)
            found.append(Count(name="modules of twinkle-kit", value=len(theirs.modules)))
            found.append(Count(name="resident with twinkle-kit", value=theirs.resident_mb, unit="MB"))
            found.append(Count(name="files opened by twinkle-kit", value=theirs.num_opened))
        return found

    return Case(
        name="import",
        variants=variants,
        check=check,
        goals=[Goal(peer="0.1 s", at_least=1), Goal(peer="twinkle-kit", at_least=5)],
        counts=counts,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What some code did to a new Python."""

    modules: list[str]
    resident_mb: float
    num_opened: int
    """Files that were opened, to be read or written."""


def cost_of(code: str, path: Path | None = None) -> Cost:
    """The cost of ``code``, and of Python itself."""
    found = json.loads(output_of(COST.format(code=code), path).splitlines()[-1])
    return Cost(modules=found["modules"], resident_mb=found["MB"], num_opened=found["opened"])


def first_model_case() -> Case:
    """The model class: what ``import twinkle`` puts off. Against the libraries that it cannot do without, and the class of a peer."""
    peer = "torch, transformers and PEFT"
    libraries = "import torch, transformers, peft\ntransformers.AutoModelForCausalLM, transformers.PreTrainedModel, peft.LoraConfig"
    model = "from twinkle.model import TransformersModel"
    return Case(
        name=model,
        variants={OURS: timed_in_fresh_python(model), peer: timed_in_fresh_python(libraries), **published_line(model)},
        check=lambda: check_line(model, "TransformersModel"),
        goals=[Goal(peer=peer, at_least=1 / 1.1)],
    )


def first_data_case() -> Case:
    """The classes that data come with."""
    line = "from twinkle.dataset import Dataset; from twinkle.dataloader import DataLoader"
    return Case(
        name=line,
        variants={OURS: timed_in_fresh_python(line), **published_line(line)},
        check=lambda: check_line(line, "DataLoader"),
    )


def published_line(line: str) -> dict[str, Variant]:
    """The same line with the package of twinkle-kit, if that is installed."""
    packages = peer_folder("twinkle-kit")
    return {} if packages is None else {"twinkle-kit": timed_in_fresh_python(line, packages)}


def check_line(line: str, name: str) -> None:
    """``line`` gives a class of this name, ours and the peer's, each from its own package."""
    for packages in filter(None, (ROOT, peer_folder("twinkle-kit"))):
        path = None if packages == ROOT else packages
        told = output_of(f"{line}; import sys; print({name}.__name__, sys.modules[{name}.__module__].__file__)", path).splitlines()[-1]
        found, _, place = told.partition(" ")
        assert found == name and Path(place).resolve().is_relative_to(packages), f"{line} gives {told}"


def registry_beside(num_more: int) -> Registry:
    """A registry that has looked up the name once, with ``num_more`` losses of a plugin."""

    class Many:
        @hookimpl
        def twinkle_losses(self) -> dict[str, str]:
            return {f"loss_{i}": f"twinkle_many_{i}:Loss{i}" for i in range(num_more)}

    registry = Registry()
    registry.register(Many(), "many")
    registry.resolve("loss", "cross_entropy")
    return registry


def look_ups(registry: Registry) -> Variant:
    """The name that users write, again and again."""

    def run() -> None:
        for _ in range(NUM_LOOK_UPS):
            registry.resolve("loss", "cross_entropy")

    return timed(run)


def check_look_up(registry: Registry, num_more: int = 0) -> None:
    """The name is that of the built-in loss, and the last of the others is there."""
    found = registry.resolve("loss", "cross_entropy").cls.__name__
    assert found == "CrossEntropyLoss", found
    if num_more:
        check_last(registry.resolve("loss", f"loss_{num_more - 1}").entry, num_more)


def check_last(entry: str | None, num_more: int) -> None:
    """The last of so many components."""
    assert entry == f"twinkle_many_{num_more - 1}:Loss{num_more - 1}", entry


def warm_case() -> Case:
    """A look-up that was made before."""
    registry, goal = registry_beside(0), "2 us"
    return Case(
        name=f"{NUM_LOOK_UPS:,} warm look-ups",
        variants={OURS: look_ups(registry), goal: budget(NUM_LOOK_UPS * 2e-6)},
        check=lambda: check_look_up(registry),
        goals=[Goal(peer=goal, at_least=1)],
    )


def warm_beside_case(num_more: int) -> Case:
    """The same with more components in the registry."""
    few, many = registry_beside(0), registry_beside(num_more)
    return Case(
        name=f"{NUM_LOOK_UPS:,} warm look-ups beside {num_more:,} more components",
        variants={OURS: look_ups(many), "no more components": look_ups(few)},
        check=lambda: check_look_up(many, num_more),
        goals=[Goal(peer="no more components", at_least=1 / (1.2 if num_more <= 1_000 else 1.3))],
    )


def first_of_a_kind_case() -> Case:
    """The first name of a kind, in a registry that knows its plugins."""

    def run() -> float:
        registry = registry_beside(0)
        return timed(lambda: registry.resolve("metric", "accuracy"))()

    return Case(
        name="first look-up of a kind",
        variants={OURS: run, "1 ms": budget(1e-3)},
        check=lambda: check_look_up(registry_beside(0)),
        goals=[Goal(peer="1 ms", at_least=1)],
    )


def first_of_a_process_case(root: Path, num_more: int) -> Case:
    """The first name that a process looks up: plugins are found and their names are read."""
    few, many = root / "few", root / "many"
    install_plugin(few, 10)
    install_plugin(many, num_more)
    few_s = timed_in_fresh_python(LOOK_UP, few, before="import twinkle")
    peer = "10 more components"
    allowed = f"{peer}, plus 20 ms for each 10,000"

    def counts() -> Sequence[Count]:
        modules = [set(cost_of(f"import twinkle; {LOOK_UP}", folder).modules) for folder in (few, many)]
        return [Count(name="further modules", value=len(modules[1] - modules[0]), at_most=0)]

    return Case(
        name=f"first look-up of a process beside {num_more:,} more components",
        variants={
            OURS: timed_in_fresh_python(LOOK_UP, many, before="import twinkle"),
            peer: few_s,
            allowed: budget(20e-3 * num_more / 10_000, on_top_of=few_s),
        },
        check=lambda: check_last(output_of(LAST.format(num_more - 1), many).strip(), num_more),
        goals=[Goal(peer=allowed, at_least=1)],
        counts=counts,
    )


def install_plugin(folder: Path, num_components: int) -> None:
    """A toy distribution in ``folder`` that announces ``num_components`` losses."""
    info = folder / "twinkle_many-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: twinkle-many\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[twinkle]\nmany = twinkle_many\n")
    (folder / "twinkle_many.py").write_text(
        "from twinkle import hookimpl\n\n\n@hookimpl\ndef twinkle_losses():\n"
        f"    return {{f'loss_{{i}}': f'twinkle_many_{{i}}:Loss{{i}}' for i in range({num_components})}}\n"
    )
