"""What every component keeps, whatever its kind."""

from __future__ import annotations

import ast
import inspect
import itertools
import pickle
import re
import shutil
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twinkle.core.signature import named_parameters, takes_any_keyword
from twinkle.testing.check import EVERY_KIND, NotApplicable, check, expect
from twinkle.testing.fresh_process import TIMEOUT_S
from twinkle.testing.import_report import ENVIRONMENT, NETWORK, PROCESSES, Report
from twinkle.testing.specimen import Specimen, loop_arguments

MAX_IMPORTED_MODULES = 100
"""Modules that an import may add, its declared dependencies aside. A count, since a time depends on the machine: 100 take about 0.3 s."""

_SENT = frozenset({"loss", "metric", "patch", "preprocessor", "filter", "processor", "reward", "advantage", "template", "environment"})
"""Kinds whose instances go to workers. Those of the others are constructed where they live."""

_GIVEN = frozenset({"device_mesh", "remote_group", "instance_id", "process_group", "params", "optimizer"})
"""Parameters that the workbench fills and documents itself."""

_SECRET = re.compile(r"(?:^|_)(?:token|secret|password|passwd|credentials?|api_?key|access_?key)$")
_MARK = "do-not-show-4f1c"
_NUM_THREADS = 8
_JSON_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})


def _report(component: Specimen) -> Report:
    assert component.fresh is not None
    report = component.fresh.report(component.id)
    expect(not report.error, f"it cannot be imported and constructed in a fresh Python:\n{report.error}")
    return report


def _no_events(component: Specimen, watched: tuple[str, ...], what: str) -> None:
    found = [event for event in _report(component).events if event.startswith(watched)]
    expect(not found, f"{what}: {', '.join(dict.fromkeys(found))}")


def _unchanged(component: Specimen, *parts: str) -> None:
    found = [part for part in _report(component).changed if part in parts]
    expect(not found, f"import or construction changed {' and '.join(found)}")


@check(EVERY_KIND, timeout_s=TIMEOUT_S, only=lambda component: component.fresh is not None)
def import_is_light(component: Specimen) -> None:
    """Importing the component adds few modules beside those of the dependencies that its manifest declares.

    Every process of a run imports every component that it uses, and a listing may import all of them. Import heavy packages inside the
    function that needs them, or declare them in [project] dependencies."""
    added = _report(component).modules
    tops = sorted({name.partition(".")[0] for name in added})
    limit = f"at most {MAX_IMPORTED_MODULES}"
    expect(len(added) <= MAX_IMPORTED_MODULES, f"its import adds {len(added)} modules ({limit}), of {', '.join(tops)}")


@check(EVERY_KIND, timeout_s=TIMEOUT_S, only=lambda component: component.fresh is not None)
def import_reaches_no_network(component: Specimen) -> None:
    """Import and construction open no connection and look up no name: a rank never talks to a hub, and machines may be offline."""
    _no_events(component, NETWORK, "import or construction reached for the network")


@check(EVERY_KIND, timeout_s=TIMEOUT_S, only=lambda component: component.fresh is not None)
def import_starts_no_process(component: Specimen) -> None:
    """Import and construction start no program (no git, no pip, no compiler)."""
    _no_events(component, PROCESSES, "import or construction started a process")


@check(EVERY_KIND, timeout_s=TIMEOUT_S, only=lambda component: component.fresh is not None)
def import_leaves_the_environment(component: Specimen) -> None:
    """Import and construction set no environment variable: others in the process, and its children, read them."""
    _no_events(component, ENVIRONMENT, "import or construction set environment variables")


@check(EVERY_KIND, timeout_s=TIMEOUT_S, only=lambda component: component.fresh is not None)
def import_leaves_the_search_path(component: Specimen) -> None:
    """Import and construction leave sys.path as it was: a further folder there can stand in for anybody's module."""
    _unchanged(component, "sys.path")


@check(EVERY_KIND, timeout_s=TIMEOUT_S, only=lambda component: component.fresh is not None)
def import_leaves_the_random_state(component: Specimen) -> None:
    """Import and construction neither seed nor draw from the global generators of random, numpy and torch.

    A run would give other numbers for having imported something. Draw from a generator of your own."""
    _unchanged(component, *(f"the random state of {name}" for name in ("random", "numpy", "torch")))


@check(EVERY_KIND, timeout_s=TIMEOUT_S, only=lambda component: component.fresh is not None)
def import_leaves_the_default_dtype(component: Specimen) -> None:
    """Import and construction leave torch's default dtype as it was."""
    _unchanged(component, "the default dtype")


@check(EVERY_KIND, timeout_s=TIMEOUT_S, only=lambda component: component.fresh is not None)
def import_leaves_the_warnings_filters(component: Specimen) -> None:
    """Import and construction leave the warnings filters as they were: what users want to see is theirs to say.

    Use warnings.catch_warnings() around the call that warns."""
    _unchanged(component, "the warnings filters")


@check(EVERY_KIND)
def pickles(component: Specimen) -> None:
    """The class pickles by reference and, of the kinds that are sent to workers, an instance comes back from a pickle as its own type.

    Lambdas, open files, locks and classes inside functions do not pickle."""
    cls = component.cls
    expect(pickle.loads(pickle.dumps(cls)) is cls, "the pickled class comes back as another object")
    if component.kind in _SENT and isinstance(cls, type):
        copy = pickle.loads(pickle.dumps(component.build()))
        expect(type(copy) is cls, f"a pickled instance comes back as {type(copy)!r}")


@check(EVERY_KIND)
def documents_its_parameters(component: Specimen) -> None:
    """Every parameter of the constructor is named in a docstring: of the class, of its constructor, or below a dataclass field."""
    cls = component.cls
    if not isinstance(cls, type):
        raise NotApplicable("a function has no constructor")
    texts, fields = _documentation(cls)
    missing = [name for name in named_parameters(cls) if name not in _GIVEN | fields and not re.search(rf"\b{re.escape(name)}\b", texts)]
    expect(not missing, f"no docstring says what {', '.join(missing)} means")


def _documentation(cls: type) -> tuple[str, set[str]]:
    """All docstrings of ``cls`` and its constructor, ancestors included, and the fields that have a sentence below them."""
    texts, fields = [], set()
    for base in cls.__mro__:
        if base.__module__ in ("builtins", "typing"):
            continue
        texts += [base.__doc__ or "", vars(base).get("__init__", base).__doc__ or ""]
        fields |= set(_documented_fields(base))
    return "\n".join(texts), fields


def _documented_fields(cls: type) -> Iterator[str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # no source: C code, or made at run time
        return
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for statement, following in itertools.pairwise(body):
        is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant) and isinstance(following.value.value, str)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and is_text:
            yield statement.target.id


@check(EVERY_KIND, only=lambda component: bool(component.params))
def params_fit_the_signature(component: Specimen) -> None:
    """The [component.params] of the manifest is a JSON schema of an object whose properties are parameters of the constructor."""
    schema, cls = component.params, component.cls
    properties = schema.get("properties", {})
    expect(schema.get("type", "object") == "object" and isinstance(properties, dict), "expected type = 'object' and a table of properties")
    known = named_parameters(cls)
    if not takes_any_keyword(cls):
        unknown = [name for name in [*properties, *schema.get("required", ())] if name not in known]
        expect(not unknown, f"the constructor does not take {', '.join(unknown)}; it takes {', '.join(known)}")
    for name, described in properties.items():
        types = described.get("type", [])
        wrong = {*([types] if isinstance(types, str) else types)} - _JSON_TYPES
        expect(not wrong, f"{name}: there is no JSON type {', '.join(sorted(wrong))}; there are {', '.join(sorted(_JSON_TYPES))}")
    optional = [n for n in schema.get("required", ()) if n in known and known[n].default is not inspect.Parameter.empty]
    expect(not optional, f"the schema requires {', '.join(optional)}, for which the constructor has a default")


@check(EVERY_KIND)
def repr_shows_no_secret(component: Specimen) -> None:
    """What is given as a token, password or key does not show in repr(): that goes to logs, tracebacks and run records."""
    cls = component.cls
    secrets = {name: _MARK for name in named_parameters(cls) if _SECRET.search(name)} if isinstance(cls, type) else {}
    if not secrets:
        return
    example = component.example.arguments() if component.example is not None else {}
    instance = cls(**{**loop_arguments(component.kind, cls), **example, **secrets})
    expect(_MARK not in f"{instance!r} {instance}", f"repr() shows {', '.join(secrets)}")


@check(EVERY_KIND, only=lambda component: component.kind in _SENT)
def constructs_in_threads(component: Specimen) -> None:
    """Eight threads can construct it at once: servers and loaders do."""
    cls = component.cls
    if not isinstance(cls, type):
        raise NotApplicable("a function is not constructed")
    component.build()  # the import itself is not what is tested
    start, failures, made = threading.Barrier(_NUM_THREADS), list[Exception](), list[Any]()

    def construct() -> None:
        start.wait()
        try:
            made.append(component.build())
        except Exception as error:  # noqa: BLE001  # of any kind: it is the finding
            failures.append(error)

    threads = [threading.Thread(target=construct) for _ in range(_NUM_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not failures, f"{len(failures)} of {_NUM_THREADS} threads failed: {failures[:1]!r}")
    expect(len({id(one) for one in made}) == _NUM_THREADS, "several threads got the same instance")


@check(EVERY_KIND, only=lambda component: component.folder is not None)
def lives_under_two_digests(component: Specimen) -> None:
    """Two versions of the component work in one process, side by side.

    Relative imports ('from . import x') make that so; a name in sys.modules, a registration in a library or an absolute import of itself
    does not."""
    folder = component.folder
    assert folder is not None
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "other"
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        for file in copy.rglob("*.py"):
            file.write_bytes(file.read_bytes() + b"\n# other bytes\n")
        other = Specimen(kind=component.kind, name=component.name, component=f"file:{copy}#{component.name}", example=component.example)
        first, second = component.cls, other.cls
        expect(first is not second, "both digests gave the very same object")
        expect(first.__module__ != second.__module__, f"both digests live in one module, {first.__module__}")
        built = [component.build(), other.build(), component.build()]
        if isinstance(first, type):
            expect([type(one) for one in built] == [first, second, first], "one digest builds instances of the other")


CHECKS = (
    import_is_light,
    import_reaches_no_network,
    import_starts_no_process,
    import_leaves_the_environment,
    import_leaves_the_search_path,
    import_leaves_the_random_state,
    import_leaves_the_default_dtype,
    import_leaves_the_warnings_filters,
    pickles,
    documents_its_parameters,
    params_fit_the_signature,
    repr_shows_no_secret,
    constructs_in_threads,
    lives_under_two_digests,
)
