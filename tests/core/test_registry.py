"""The registry: names, precedence, laziness, broken plugins, threads."""

from __future__ import annotations

import importlib
import operator
import pickle
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from installed_plugin import SitePackages

import twinkle
from twinkle.core.errors import (
    AmbiguousComponent,
    BrokenComponent,
    ContractViolation,
    HubUnavailable,
    InvalidArgument,
    InvalidConfig,
    InvalidRef,
    UnknownComponent,
)
from twinkle.core.hookspecs import hookimpl
from twinkle.core.kinds import KINDS, KindSpec
from twinkle.core.refs import HubRef
from twinkle.core.registry import Registry
from twinkle.core.resolved import Resolved
from twinkle.core.runtime.context import ProcessContext
from twinkle.core.settings import Settings

BUILTIN_LOSS = "twinkle.plugins_builtin.loss._cross_entropy"


class Halved:
    """A loss with an argument."""

    def __init__(self, scale: float = 0.5) -> None:
        self.scale = scale

    def __call__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> float:
        return self.scale * float(outputs["loss"])


def zero(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> float:
    """A loss that is a plain function."""
    return 0.0


class Nothing:
    """No component of any kind."""


class Plugin:
    """Losses by name, of a plugin that is registered by hand."""

    def __init__(self, losses: Mapping[str, Any]) -> None:
        self.losses = losses

    @hookimpl
    def twinkle_losses(self) -> Mapping[str, Any]:
        return self.losses


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry that sees no plugin but the built-in ones."""
    return Registry(Settings(home=tmp_path, plugins=frozenset()))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SitePackages]:
    """A folder to install toy distributions into; what they import is forgotten afterwards."""
    before = set(sys.modules)
    yield SitePackages(tmp_path / "site", monkeypatch)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def strict(**settings: Any) -> Registry:
    """A registry that sees the installed plugins and raises for a broken one."""
    return Registry(Settings(plugins_strict=True, **settings))


def lenient(**settings: Any) -> Registry:
    """A registry that sees the installed plugins and leaves broken ones out."""
    return Registry(Settings(**settings))


# ---- names


def test_the_id_and_the_class_name_mean_the_same_component(registry: Registry) -> None:
    by_id, by_class = registry.resolve("loss", "cross_entropy"), registry.resolve("loss", "CrossEntropyLoss")
    assert by_id.entry == by_class.entry == f"{BUILTIN_LOSS}:CrossEntropyLoss"
    assert (by_id.origin, by_id.trust, by_id.name, by_class.name) == ("builtin", "builtin", "cross_entropy", "cross_entropy")
    assert registry.resolve("loss", "loss:cross_entropy").entry == registry.resolve("loss", "twinkle/cross_entropy").entry == by_id.entry


def test_listing_and_resolving_import_no_component(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.register(Plugin({"lazy": "no_such_module:Loss"}), "mine")
    monkeypatch.delitem(sys.modules, BUILTIN_LOSS, raising=False)
    listed = [(c.kind, c.name) for kind in registry.kinds for c in registry.components(kind)]
    assert ("loss", "cross_entropy") in listed and ("loss", "lazy") in listed
    registry.resolve("loss", "CrossEntropyLoss")
    assert registry.resolve("loss", "lazy").entry == "no_such_module:Loss"
    assert BUILTIN_LOSS not in sys.modules


def test_a_component_is_listed_once_however_many_names_it_has(registry: Registry) -> None:
    registry.register(Plugin({"half": Halved, "Halved": Halved}), "mine")
    assert [c.name for c in registry.components("loss") if c.plugin.name == "mine"] == ["Halved", "half"]
    assert registry.resolve("loss", "Halved").cls is registry.resolve("loss", "half").cls is Halved


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("loss", "cross_entropi", "Did you mean 'cross_entropy'"),
        ("loss", "crossentropyloss", "Did you mean 'CrossEntropyLoss'"),
        ("metric", "cross_entropy", "There is a loss of that name"),
        ("loss", "metric:cross_entropy", "names a metric, but a loss is asked for"),
        ("loss", "ms:cross_entropy", "'ms://owner/repo'"),
        ("loss", "owner/repo", "'ms://owner/repo'"),
        ("loss", "twinkle/cross_entropi", "Did you mean 'cross_entropy'"),
        ("lossy", "x", "Did you mean 'loss'"),
    ],
)
def test_an_unknown_name_is_answered_with_a_suggestion(registry: Registry, kind: str, name: str, says: str) -> None:
    with pytest.raises(LookupError) as error:
        registry.resolve(kind, name)
    assert says in str(error.value)


def test_every_kind_has_its_hook_and_its_contract(registry: Registry) -> None:
    assert {spec.name for spec in KINDS} == set(registry.kinds) - {"tracker"}, "trackers are a kind that a plugin brings"
    for spec in registry.kinds.values():
        assert vars(registry.hook)[spec.hook].spec is not None
        with pytest.raises(ContractViolation, match="it lacks"):
            registry.resolve(spec.name, Nothing)


def test_a_hub_id_needs_somebody_who_fetches(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.hook, "twinkle_component_source", lambda ref: None)
    with pytest.raises(HubUnavailable, match="hub support comes with"):
        registry.resolve("loss", "ms://owner/repo")
    with pytest.raises(InvalidRef):
        registry.resolve("loss", "ms://owner")


def test_a_component_source_of_a_plugin_resolves_and_loads(registry: Registry) -> None:
    class Source:
        def resolve(self, kind: str, ref: HubRef) -> Resolved:
            return Resolved(kind=kind, name="half", entry="impl:Half", origin="hub", ref=str(ref), repo=f"s3://{ref.repo_id}", h1="h1:0")

        def load(self, resolved: Resolved) -> Any:
            return Halved

    class SourcePlugin:
        @hookimpl
        def twinkle_component_source(self, ref: object) -> Source | None:
            return Source() if isinstance(ref, HubRef) and ref.scheme == "s3" else None

    registry.register(SourcePlugin(), "s3")
    resolved = registry.resolve("loss", "s3://owner/repo#half")
    assert resolved.cls is Halved
    assert registry.bind(pickle.loads(pickle.dumps(resolved))).cls is Halved


# ---- precedence


def test_the_built_in_component_wins_with_one_warning(site: SitePackages) -> None:
    site.add("other-pkg", "@hookimpl\ndef twinkle_losses(): return {'cross_entropy': 'other_impl:CrossEntropyLoss'}")
    registry = strict()
    with pytest.warns(UserWarning, match=r"built in and installed.*'other-pkg/cross_entropy'") as caught:
        assert registry.resolve("loss", "cross_entropy").origin == "builtin"
        assert registry.resolve("loss", "CrossEntropyLoss").origin == "builtin"
        assert registry.resolve("loss", "loss:cross_entropy").origin == "builtin"
    assert len(caught) == 1


@pytest.mark.parametrize("package", ["other-pkg", "Other_Pkg", "other.pkg", "impl_of_other"])
def test_a_package_before_the_slash_means_exactly_that_distribution(site: SitePackages, package: str) -> None:
    source = "@hookimpl\ndef twinkle_losses(): return {'cross_entropy': 'other_impl:CrossEntropyLoss'}"
    site.add("other-pkg", source, version="2.1", module="impl_of_other")
    resolved = strict().resolve("loss", f"{package}/cross_entropy")
    assert (resolved.origin, resolved.dist, resolved.version, resolved.trust) == ("dist", "other-pkg", "2.1", "installed")
    assert resolved.entry == "other_impl:CrossEntropyLoss"


def test_two_packages_with_one_name_are_ambiguous_and_both_listed(site: SitePackages) -> None:
    for dist in ("pkg-a", "pkg-b"):
        site.add(dist, f"@hookimpl\ndef twinkle_losses(): return {{'dapo': '{dist[-1]}_impl:Dapo'}}")
    registry = strict()
    for name in ("dapo", "Dapo"):
        with pytest.raises(AmbiguousComponent, match=r"pkg-a/dapo \(a_impl:Dapo\)") as error:
            registry.resolve("loss", name)
        assert "pkg-b/dapo (b_impl:Dapo)" in str(error.value)
    assert registry.resolve("loss", "pkg-b/dapo").entry == "b_impl:Dapo"


def test_one_package_that_announces_a_name_twice_is_ambiguous_even_when_named(site: SitePackages) -> None:
    hooks = "class {0}:\n    @hookimpl\n    def twinkle_losses(self): return {{'dapo': '{0}:Dapo'}}\n"
    points = {"one": "pkg_c:a", "two": "pkg_c:b"}
    site.add("pkg-c", hooks.format("A") + hooks.format("B") + "a, b = A(), B()", points=points)
    with pytest.raises(AmbiguousComponent, match="that package has to rename one"):
        strict().resolve("loss", "pkg-c/dapo")


@pytest.mark.parametrize("name", ["cross_entropy", "CrossEntropyLoss"])
def test_an_override_of_the_project_comes_before_the_built_in(site: SitePackages, name: str) -> None:
    site.add("other-pkg", "@hookimpl\ndef twinkle_losses(): return {'mine': 'other_impl:Mine'}")
    registry = strict(overrides={"loss:cross_entropy": "other-pkg/mine"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolved = registry.resolve("loss", name)
    assert (resolved.entry, resolved.ref) == ("other_impl:Mine", name)
    assert "tool.twinkle.override" in resolved.trace[0]
    assert registry.resolve("loss", "twinkle/cross_entropy").origin == "builtin"


def test_an_override_that_leads_nowhere_is_an_error(registry: Registry) -> None:
    broken = Registry(Settings(plugins=frozenset(), overrides={"loss:cross_entropy": "gone/mine"}))
    with pytest.raises(InvalidConfig, match="gone/mine"):
        broken.resolve("loss", "cross_entropy")


def test_the_decisions_are_on_record(registry: Registry) -> None:
    assert registry.resolve("loss", "cross_entropy").trace == (
        "'cross_entropy' is built in",
        f"plugin twinkle.plugins_builtin.loss gives {BUILTIN_LOSS}:CrossEntropyLoss",
    )


# ---- broken plugins


BROKEN = {
    "import": ("raise ValueError('boom')", "import: ValueError: boom"),
    "exit": ("import sys\nsys.exit('bye')", "import: SystemExit: bye"),
    "syntax": ("def (", "import: SyntaxError"),
    "register": ("@hookimpl\ndef twinkle_losses(no_such_argument): return {}", "register: PluginValidationError"),
    "hook": ("@hookimpl\ndef twinkle_losses(): raise KeyError('boom')", "twinkle_losses: KeyError: 'boom'"),
    "list": ("@hookimpl\ndef twinkle_losses(): return ['dapo']", "twinkle_losses: InvalidConfig: expected a mapping"),
    "name": ("@hookimpl\ndef twinkle_losses(): return {'da po': 'm:X'}", "twinkle_losses: InvalidConfig: 'da po' is no name"),
    "number": ("@hookimpl\ndef twinkle_losses(): return {1: 'm:X'}", "twinkle_losses: InvalidConfig: 1 is no name"),
    "path": ("@hookimpl\ndef twinkle_losses(): return {'dapo': 'm.X'}", "twinkle_losses: InvalidConfig: 'dapo': expected an import string"),
    "value": ("@hookimpl\ndef twinkle_losses(): return {'dapo': 3}", "twinkle_losses: InvalidConfig: 'dapo': expected a class"),
    "twice": (
        "@hookimpl\ndef twinkle_losses(): return {'a': 'm:X', 'b': 'n:X'}",
        "twinkle_losses: InvalidConfig: the name 'X' stands for both",
    ),
    "wrapper": ("@hookimpl(wrapper=True)\ndef twinkle_losses(): return (yield)", "twinkle_losses: InvalidConfig: expected a mapping"),
    "typo": (
        "@hookimpl\ndef twinkle_loses(): return {}",
        "twinkle_loses: InvalidConfig: there is no hook 'twinkle_loses'. Did you mean 'twinkle_losses'",
    ),
    "kinds": ("@hookimpl\ndef twinkle_kinds(): return {'a': 1}", "twinkle_kinds: InvalidConfig: expected a list of KindSpec"),
    "kind": (
        "@hookimpl\ndef twinkle_kinds(): return [KindSpec(name='loss', hook='twinkle_x', contract='m:X', summary='')]",
        "twinkle_kinds: InvalidConfig: the kind 'loss' collides with what exists",
    ),
    "kind_hook": (
        "@hookimpl\ndef twinkle_kinds(): return [KindSpec(name='lossy', hook='twinkle_losses', contract='m:X', summary='')]",
        "twinkle_kinds: InvalidConfig: kind 'lossy': the hook 'twinkle_losses' exists already",
    ),
    "kind_impl": (
        "@hookimpl\ndef twinkle_kinds(): return [KindSpec(name='judge', hook='twinkle_judges', contract='m:X', summary='')]\n"
        "@hookimpl\ndef twinkle_judges(no_such_argument): return {}",
        "twinkle_judges: PluginValidationError",
    ),
    "early": ("import twinkle\ntwinkle.resolve('loss', 'cross_entropy')", "import: InvalidConfig: a plugin asked for components while"),
}


def use(registry: Registry) -> None:
    """Makes every hook be called."""
    for kind in registry.kinds:
        registry.components(kind)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_left_out_and_reported(site: SitePackages, case: str, context: ProcessContext) -> None:
    source, report = BROKEN[case]
    site.add("Bad-Pkg", source, version="1.2")
    site.add("good-pkg", "@hookimpl\ndef twinkle_losses(): return {'fine': 'impl:Fine'}")
    registry = context.registry = lenient()
    use(registry)
    assert f"Bad-Pkg 1.2, {report}" in str(registry.broken_plugins[0])
    assert registry.resolve("loss", "fine").dist == "good-pkg"
    with pytest.raises(UnknownComponent, match=r"It might be provided by the broken plugin Bad-Pkg 1\.2"):
        registry.resolve("loss", "dapo")


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_raises_when_strict(site: SitePackages, case: str, context: ProcessContext) -> None:
    source, report = BROKEN[case]
    site.add("Bad-Pkg", source, version="1.2")
    registry = context.registry = strict()
    for _ in range(2):  # not only the first time
        with pytest.raises(BrokenComponent) as error:
            use(registry)
        assert f"plugin Bad-Pkg 1.2, {report}" in str(error.value)
        assert error.value.__cause__ is not None


def test_a_bad_entry_hurts_no_other_and_is_named_when_it_is_asked_for(site: SitePackages) -> None:
    site.add("mixed-pkg", "@hookimpl\ndef twinkle_losses(): return {'fine': 'impl:Fine', 'dapo': 'm.X', 'da po': 'm:Y', 'two': 'n:Fine'}")
    registry = lenient()
    assert registry.resolve("loss", "fine").entry == "impl:Fine"
    assert registry.broken_plugins == (), "an entry was read that nobody asked for"
    with pytest.raises(UnknownComponent, match=r"broken plugin mixed-pkg 1\.0, twinkle_losses: InvalidConfig: 'dapo': expected an import"):
        registry.resolve("loss", "dapo")
    with pytest.raises(AmbiguousComponent, match="that package has to rename one"):
        registry.resolve("loss", "Fine")
    assert [c.name for c in registry.components("loss") if c.plugin.dist == "mixed-pkg"] == ["fine", "two"]
    assert registry.resolve("loss", "two").entry == "n:Fine"


def test_the_same_failure_is_reported_once(site: SitePackages) -> None:
    site.add("bad-pkg", BROKEN["hook"][0])
    registry = lenient()
    use(registry)
    registry.register(Plugin({}), "mine")
    use(registry)
    assert len(registry.broken_plugins) == 1


def test_an_observer_that_raises_is_reported_and_the_others_are_told(registry: Registry) -> None:
    told: list[int] = []

    class Bad:
        @hookimpl
        def twinkle_step_ended(self, step: int) -> None:
            raise OSError("disk full")

    class Good:
        @hookimpl
        def twinkle_step_ended(self, step: int, metrics: Mapping[str, object]) -> None:
            told.append(step)

    registry.register(Bad(), "bad")
    registry.register(Good(), "good")
    with pytest.warns(UserWarning, match="disk full"):
        registry.tell("twinkle_step_ended", run="out", step=3, metrics={})
    registry.tell("twinkle_step_ended", run="out", step=4, metrics={})
    assert told == [3, 4]
    assert "bad, twinkle_step_ended: OSError: disk full" in str(registry.broken_plugins[0])


@pytest.mark.parametrize(("event", "says"), [("twinkle_step_end", "mean 'twinkle_step_ended'"), ("twinkle_step_ended", "takes run, step")])
def test_an_event_that_is_told_wrongly_is_the_fault_of_the_teller(registry: Registry, event: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        registry.tell(event, run="out", number=3)


def test_a_component_that_does_not_import_names_its_package_and_the_cause(site: SitePackages) -> None:
    site.add("other-pkg", "@hookimpl\ndef twinkle_losses(): return {'dapo': 'dapo_impl:Dapo'}", version="2.1")
    site.write("dapo_impl", "import no_such_dependency")
    with pytest.raises(BrokenComponent, match=r"loss 'dapo' of other-pkg 2\.1 .* dapo_impl:Dapo.*no_such_dependency") as error:
        _ = strict().resolve("loss", "dapo").cls
    assert isinstance(error.value.__cause__, ModuleNotFoundError)


# ---- allow-list


def test_a_plugin_that_is_not_allowed_is_never_imported(site: SitePackages) -> None:
    site.add("pkg-no", "raise AssertionError('imported')")
    site.add("pkg-yes", "@hookimpl\ndef twinkle_losses(): return {'fine': 'impl:Fine'}")
    assert "fine" in [c.name for c in strict(plugins=frozenset({"Pkg_Yes"})).components("loss")]
    assert "fine" not in [c.name for c in strict(plugins=frozenset()).components("loss")]
    assert "pkg_no" not in sys.modules


def test_an_allowed_plugin_that_is_not_installed_is_reported(site: SitePackages) -> None:
    site.add("pkg-yes", "")
    registry = lenient(plugins=frozenset({"pkg_jes"}))
    assert "names 'pkg_jes'" in str(registry.broken_plugins[0])
    assert "Did you mean 'pkg-yes'" in str(registry.broken_plugins[0])


def test_a_plugin_that_shows_up_twice_counts_once(site: SitePackages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "@hookimpl\ndef twinkle_losses(): return {'dapo': 'impl:Dapo'}"
    points = {"plugin": "my_pkg", "again": "my_pkg"}
    SitePackages(tmp_path / "editable", monkeypatch).add("My_Pkg", source, points=points)
    site.add("my-pkg", source, points=points)
    registry = strict()
    assert [c.name for c in registry.components("loss") if c.plugin.dist] == ["dapo"]


# ---- a new kind


KIND = "KindSpec(name='judge', hook='twinkle_judges', contract='judge_impl:Judge', summary='compares answers')"
JUDGE = "import abc\nclass Judge(abc.ABC):\n    @abc.abstractmethod\n    def compare(self): ...\n"


def test_a_plugin_brings_a_kind_that_another_fills(site: SitePackages) -> None:
    site.add("a-judges", "@hookimpl\ndef twinkle_judges(): return {'length': 'judge_impl:Length', 'bad': 'judge_impl:Bad'}\n")
    site.add("b-kind", f"@hookimpl\ndef twinkle_kinds(): return [{KIND}]")
    site.write("judge_impl", JUDGE + "class Length:\n    def compare(self): return 1\nclass Bad: ...")
    registry = strict()
    assert registry.kinds["judge"].summary == "compares answers"
    assert registry.resolve("judge", "length").cls().compare() == 1
    with pytest.raises(ContractViolation, match="it lacks compare"):
        _ = registry.resolve("judge", "bad").cls


def test_a_kind_that_two_plugins_announce_alike_is_one_kind(site: SitePackages) -> None:
    for dist in ("a-kind", "b-kind"):
        site.add(dist, f"@hookimpl\ndef twinkle_kinds(): return [{KIND}]")
    assert strict().components("judge") == ()


def test_a_kind_that_two_plugins_announce_differently_is_none(site: SitePackages) -> None:
    for number, dist in enumerate(("a-kind", "b-kind")):
        site.add(dist, f"@hookimpl\ndef twinkle_kinds(): return [{KIND.replace('compares', 'compares ' * number)}]")
    registry = lenient()
    with pytest.raises(UnknownComponent, match=r"the kind 'judge' collides with .*-kind and .*-kind"):
        registry.components("judge")
    assert len(registry.broken_plugins) == 2


def test_a_hook_of_a_kind_that_may_be_missing_is_marked_optional(site: SitePackages) -> None:
    site.add("a-judges", "@hookimpl(optionalhook=True)\ndef twinkle_judges(): return {}\n")
    use(strict())


# ---- objects


def test_a_class_an_instance_and_a_function_are_taken_as_they_are(registry: Registry) -> None:
    instance = Halved(0.25)
    for obj in (Halved, instance, zero):
        resolved = registry.resolve("loss", obj)
        assert resolved.cls is obj
        assert (resolved.origin, resolved.trust) == ("object", "object")
    assert registry.resolve("loss", instance).entry.endswith(":Halved")


def test_a_resolved_component_is_taken_again_but_not_as_another_kind(registry: Registry) -> None:
    resolved = registry.resolve("loss", Halved)
    assert registry.resolve("loss", resolved).cls is Halved
    with pytest.raises(InvalidArgument, match="resolved as a loss, but a metric"):
        registry.resolve("metric", resolved)


def test_what_lacks_a_method_of_the_contract_is_refused(registry: Registry) -> None:
    from twinkle.core.contracts.metric import Metric

    class Unfinished(Metric):
        def accumulate(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None: ...

    with pytest.raises(ContractViolation, match="it lacks calculate, reset"):
        registry.resolve("metric", Unfinished)
    with pytest.raises(ContractViolation, match="is a function, but a metric is a class"):
        registry.resolve("metric", zero)
    with pytest.raises(ContractViolation, match=r"an instance of .*Nothing is no loss"):
        registry.resolve("loss", Nothing())


def test_where_a_function_will_do_so_does_any_callable(registry: Registry) -> None:
    registry.resolve("preprocessor", Halved())
    with pytest.raises(ContractViolation):
        registry.resolve("metric", Halved())


def test_a_name_that_leads_to_no_component_of_its_kind_is_refused(registry: Registry) -> None:
    registry.register(Plugin({"nothing": Nothing}), "mine")
    with pytest.raises(ContractViolation, match="loss 'nothing' is no loss: it lacks __call__"):
        _ = registry.resolve("loss", "nothing").cls


# ---- across processes


def test_a_resolved_component_pickles_and_loads_after_binding(registry: Registry) -> None:
    resolved = registry.resolve("loss", "cross_entropy")
    arrived = pickle.loads(pickle.dumps(resolved))
    assert arrived == resolved and arrived.trace == resolved.trace
    with pytest.raises(BrokenComponent, match="bind it first"):
        _ = arrived.cls
    assert Registry(registry.settings).bind(arrived).cls is resolved.cls


def test_an_object_travels_by_its_own_pickle_rules(registry: Registry) -> None:
    arrived = pickle.loads(pickle.dumps(registry.resolve("loss", operator.itemgetter("loss"))))
    assert registry.bind(arrived).cls({"loss": 3}) == 3
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(registry.resolve("loss", lambda inputs, outputs: 0))


def test_provenance_holds_what_a_reader_needs_and_nothing_unknown(registry: Registry) -> None:
    assert registry.resolve("loss", "CrossEntropyLoss").provenance() == {
        "kind": "loss",
        "name": "cross_entropy",
        "entry": f"{BUILTIN_LOSS}:CrossEntropyLoss",
        "origin": "builtin",
        "ref": "CrossEntropyLoss",
        "trust": "builtin",
    }


# ---- building


def test_an_instance_is_built_and_a_typo_in_an_argument_is_told(context: ProcessContext) -> None:
    context.registry.register(Plugin({"half": Halved}), "mine")
    assert twinkle.build("loss", "half", scale=2.0).scale == 2.0
    with pytest.raises(TypeError, match=r"loss 'half' does not take the argument 'scael'\. Did you mean 'scale'\?"):
        twinkle.build("loss", "half", scael=2.0)


def test_functions_and_instances_are_built_already() -> None:
    instance = Halved()
    assert twinkle.build("loss", zero) is zero
    assert twinkle.build("loss", instance) is instance
    with pytest.raises(TypeError, match="takes no arguments"):
        twinkle.build("loss", zero, scale=2.0)


def test_a_fresh_context_knows_nothing_of_the_last_test(context: ProcessContext) -> None:
    with pytest.raises(LookupError):
        twinkle.build("loss", "half")


# ---- registering by hand


def test_a_registered_plugin_is_seen_at_once_and_told_apart(registry: Registry) -> None:
    with pytest.raises(UnknownComponent):
        registry.resolve("loss", "half")
    registry.register(Plugin({"half": Halved}), "mine")
    assert registry.resolve("loss", "half").dist == "mine"
    assert registry.resolve("loss", "mine/half").cls is Halved


def test_a_name_that_was_resolved_becomes_ambiguous_when_another_plugin_brings_it(registry: Registry) -> None:
    registry.register(Plugin({"half": Halved}), "first")
    assert registry.resolve("loss", "half").dist == "first"
    registry.register(Plugin({"half": "elsewhere:Half"}), "second")
    with pytest.raises(AmbiguousComponent, match="first/half"):
        registry.resolve("loss", "half")


def test_classes_of_the_same_name_from_two_plugins_stay_apart(registry: Registry) -> None:
    def local(value: float) -> type:
        class Local(Halved):
            number = value

        return Local

    registry.register(Plugin({"one": local(1.0)}), "first")
    registry.register(Plugin({"two": local(2.0)}), "second")
    assert (registry.resolve("loss", "one").cls.number, registry.resolve("loss", "two").cls.number) == (1.0, 2.0)


def test_functions_without_a_name_of_their_own_stay_apart(registry: Registry) -> None:
    registry.register(Plugin({"one": lambda inputs, outputs: 1, "two": lambda inputs, outputs: 2}), "mine")
    assert [registry.resolve("loss", name).cls({}, {}) for name in ("one", "two")] == [1, 2]


@pytest.mark.parametrize("plugins_strict", [False, True])
def test_a_wrong_plugin_is_not_half_registered(plugins_strict: bool) -> None:
    registry = Registry(Settings(plugins=frozenset(), plugins_strict=plugins_strict))

    class Wrong:
        @hookimpl
        def twinkle_kinds(self) -> list[KindSpec]:
            return [KindSpec(name="judge", hook="twinkle_judges", contract="m:X", summary="")]

        @hookimpl
        def twinkle_loses(self) -> dict[str, str]:
            return {}

    with pytest.raises(BrokenComponent, match="Did you mean 'twinkle_losses'"):
        registry.register(Wrong(), "wrong")
    assert "judge" not in registry.kinds and "wrong" not in [p.name for p in registry.plugins] and registry.broken_plugins == ()
    del Wrong.twinkle_loses
    registry.register(Wrong(), "wrong")
    assert registry.components("judge") == ()


def test_a_hook_with_a_wrong_argument_is_not_registered(registry: Registry) -> None:
    class Wrong:
        @hookimpl
        def twinkle_losses(self, no_such_argument: int) -> dict[str, str]:
            return {}

    with pytest.raises(BrokenComponent, match="no_such_argument"):
        registry.register(Wrong(), "wrong")
    assert "wrong" not in [p.name for p in registry.plugins]
    assert registry.resolve("loss", "cross_entropy").origin == "builtin"


def test_a_name_can_be_registered_once(registry: Registry) -> None:
    registry.register(Plugin({}), "mine")
    with pytest.raises(InvalidConfig, match="registered already"):
        registry.register(Plugin({}), "mine")


def test_a_frozen_registry_takes_no_plugin(registry: Registry) -> None:
    registry.freeze()
    with pytest.raises(InvalidConfig, match="frozen"):
        registry.register(Plugin({}), "late")
    assert registry.resolve("loss", "cross_entropy").cls


def test_the_first_load_is_told_once(registry: Registry) -> None:
    told: list[object] = []

    class Audit:
        @hookimpl
        def twinkle_component_loaded(self, cls: object) -> None:
            told.append(cls)

    registry.register(Audit(), "audit")
    loaded = [registry.resolve("loss", name).cls for name in ("cross_entropy", "CrossEntropyLoss")]
    assert told == loaded[:1]


# ---- threads


def in_threads(function: Callable[[], Any], num_threads: int = 16) -> list[Any]:
    """The results of ``function``, called in all threads at the same moment."""
    start = threading.Barrier(num_threads)
    results: list[Any] = []

    def run() -> None:
        start.wait()
        results.append(function())

    threads = [threading.Thread(target=run) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == num_threads
    return results


def test_many_threads_load_plugins_once_and_see_all_of_them(site: SitePackages) -> None:
    hook = "@hookimpl\ndef twinkle_losses():\n    time.sleep(0.05)\n    return {'slow': 'slow_impl:Slow'}"
    site.add("slow-pkg", f"import time\ntime.sleep(0.05)\n{hook}")
    site.write("slow_impl", "import time\ntime.sleep(0.05)\nclass Slow:\n    def __call__(self, inputs, outputs): ...\n")
    told: list[object] = []

    class Audit:
        @hookimpl
        def twinkle_component_loaded(self, cls: object) -> None:
            told.append(cls)

    registry = strict()
    names = in_threads(lambda: registry.resolve("loss", "slow").name)
    registry.register(Audit(), "audit")
    classes = in_threads(lambda: registry.resolve("loss", "slow").cls)
    assert set(names) == {"slow"} and set(classes) == set(told) and len(told) == 1
    assert len(registry.plugins) == len({p.name for p in registry.plugins})


def test_plugins_can_be_registered_while_others_resolve(registry: Registry) -> None:
    numbers = iter(range(1000))

    def register_and_resolve() -> str:
        name = f"l{next(numbers)}"
        registry.register(Plugin({name: Halved}), name)
        return registry.resolve("loss", name).name

    assert len(set(in_threads(register_and_resolve))) == 16
    assert len([c for c in registry.components("loss") if c.plugin.dist]) == 16


def test_a_module_may_ask_the_registry_while_the_registry_waits_for_its_import(
    site: SitePackages, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = types.ModuleType("registry_holder")
    monkeypatch.setitem(sys.modules, "registry_holder", holder)
    vars(holder)["registry"] = registry
    registry.register(Plugin({"asking": "asking_impl:Asking", "half": Halved}), "mine")
    resolved = registry.resolve("loss", "asking")
    site.write(
        "asking_impl",
        "import time\nfrom registry_holder import registry\ntime.sleep(0.1)\nregistry.resolve('loss', 'mine/half')\n"
        "class Asking:\n    def __call__(self, inputs, outputs): ...\n",
    )
    done: list[Any] = []
    threads = [
        threading.Thread(target=lambda: done.append(importlib.import_module("asking_impl")), daemon=True),
        threading.Thread(target=lambda: done.append(resolved.cls), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(done) == 2
