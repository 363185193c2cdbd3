"""What an executor keeps: components that behave as if nothing lay between."""

from __future__ import annotations

from typing import Any

from twinkle.core.mesh import DeviceMesh
from twinkle.core.runtime.context import ProcessContext, current, use_context
from twinkle.core.runtime.placement import Layout
from twinkle.core.runtime.remote import remote_class, remote_function
from twinkle.testing.check import check, expect
from twinkle.testing.specimen import Specimen


@remote_class()
class Adder:
    """What is placed."""

    def __init__(self, start: int, step: int = 1) -> None:
        self.total = start
        self.step = step

    @remote_function(dispatch="all", collect="first")
    def add(self, number: int, *, twice: bool = False) -> int:
        """The total after ``number`` steps more."""
        self.total += number * self.step * (2 if twice else 1)
        return self.total

    @remote_function(dispatch="all", collect="first")
    def fail(self) -> None:
        """Raises."""
        raise ValueError("it fails on purpose")


def _started(component: Specimen) -> tuple[Any, Layout]:
    executor = component.build()
    return executor, executor.start(Layout(settings=current().settings))


def _place(executor: Any, layout: Layout, *arguments: Any, **named: Any) -> Any:
    context = ProcessContext.fresh(current().settings)
    context.executor, context.mesh, context.groups = executor, layout.mesh, layout.groups
    with use_context(context):
        return Adder(*arguments, **named)


@check("executor")
def completes_the_layout(component: Specimen) -> None:
    """start() fills in what the user left out: a mesh as large as the world, and a group."""
    _, layout = _started(component)
    expect(isinstance(layout.mesh, DeviceMesh) and layout.mesh.world_size >= 1, f"the mesh is {layout.mesh!r}")
    expect(len(layout.groups) > 0, "there is no group")


@check("executor")
def calls_as_if_local(component: Specimen) -> None:
    """A placed component takes its arguments, keeps its state between calls, and returns what its method returns."""
    executor, layout = _started(component)
    adder = _place(executor, layout, 5, step=2)
    results = [adder.add(1), adder.add(2, twice=True)]
    expect(results == [7, 15], f"a component that counts gives {results} instead of [7, 15]")


@check("executor")
def keeps_instances_apart(component: Specimen) -> None:
    """Two constructions are two components: what one does, the other does not see."""
    executor, layout = _started(component)
    first, second = _place(executor, layout, 0), _place(executor, layout, 0)
    first.add(3)
    found = second.add(1)
    expect(found == 1, f"the second component gives {found} instead of 1")


@check("executor")
def raises_what_a_method_raises(component: Specimen) -> None:
    """An exception of a method reaches the caller as an exception of its type, with its message."""
    executor, layout = _started(component)
    adder = _place(executor, layout, 0)
    try:
        adder.fail()
    except ValueError as error:
        expect("on purpose" in str(error), f"the message became {error}")
    else:
        expect(False, "the exception of a method is lost")


CHECKS = (completes_the_layout, calls_as_if_local, keeps_instances_apart, raises_what_a_method_raises)
