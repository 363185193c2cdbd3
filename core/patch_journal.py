"""The journal of a patch: every change with what was there before, so that a revert restores the very objects.

Raw values are kept, not what a look-up gives: the ``staticmethod`` or ``property`` object of a class, the absence of an attribute that is
inherited. A value that is no longer the one that was written is never overwritten: somebody else changed it, and is named if known.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from twinkle.core.errors import InvalidArgument


class Absent(Enum):
    """What a place holds that holds nothing."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT
_WHOLE_CLASS = "__class__"


class Place(Protocol):
    """Where one value lies."""

    @property
    @abstractmethod
    def key(self) -> tuple[int, object]:
        """Equal for two places exactly if they are the same one, while their owner lives."""

    @abstractmethod
    def read(self) -> object:
        """The raw value, or ABSENT."""

    @abstractmethod
    def write(self, value: object) -> None:
        """Puts ``value`` there; ABSENT removes what is there."""


@dataclass(frozen=True, slots=True)
class AttributePlace:
    """An attribute of a class, a module or an instance; ``__class__`` is an instance's class."""

    owner: Any
    name: str

    @property
    def key(self) -> tuple[int, object]:
        """The owner's identity and the name."""
        return id(self.owner), self.name

    def read(self) -> object:
        """The raw value in the owner itself; one that the owner computes or stores elsewhere is read the usual way."""
        if self.name == _WHOLE_CLASS:
            return type(self.owner)
        try:
            own = vars(self.owner)
        except TypeError:  # an instance with __slots__ alone
            own = {}
        if self.name in own:
            return own[self.name]
        if isinstance(self.owner, type) or not self._is_stored_elsewhere():
            return ABSENT
        return getattr(self.owner, self.name, ABSENT)

    def _is_stored_elsewhere(self) -> bool:
        """A slot, a property, or an attribute that ``__getattr__`` finds (as a torch module does with its parameters)."""
        inherited = inspect.getattr_static(type(self.owner), self.name, ABSENT)
        return inherited is ABSENT or inspect.isdatadescriptor(inherited)

    def write(self, value: object) -> None:
        """Sets or deletes the attribute."""
        if value is ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, value)

    def __str__(self) -> str:
        return f"{_shown(self.owner)}.{self.name}"


@dataclass(frozen=True, slots=True)
class ItemPlace:
    """An item of a mapping."""

    mapping: MutableMapping[Any, Any]
    name: object

    @property
    def key(self) -> tuple[int, object]:
        """The mapping's identity and the item's key."""
        return id(self.mapping), ("item", self.name)

    def read(self) -> object:
        """The item."""
        return self.mapping.get(self.name, ABSENT)

    def write(self, value: object) -> None:
        """Sets or deletes the item."""
        if value is ABSENT:
            del self.mapping[self.name]
        else:
            self.mapping[self.name] = value

    def __str__(self) -> str:
        return f"{type(self.mapping).__name__}[{self.name!r}]"


@dataclass(frozen=True, slots=True)
class Change:
    """One change: what a place held, and what it holds since."""

    place: Place
    before: object
    after: object


class RecordedJournal:
    """The :class:`~twinkle.core.contracts.patch.Journal` that patches get."""

    def __init__(self) -> None:
        self._entries: list[Change | Callable[[], None]] = []

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes, oldest first, without callbacks."""
        return tuple(entry for entry in self._entries if isinstance(entry, Change))

    def setattr(self, owner: object, name: str, value: object) -> None:
        """``owner.name = value``; ``name = "__class__"`` swaps the class of an instance."""
        self._write(AttributePlace(owner, name), value)

    def setitem(self, mapping: Any, key: object, value: object) -> None:
        """``mapping[key] = value``."""
        if not isinstance(mapping, MutableMapping):
            raise InvalidArgument(f"journal.setitem: expected a mapping, got a {type(mapping).__name__}: use setattr or callback")
        self._write(ItemPlace(mapping, key), value)

    def callback(self, undo: Callable[[], None]) -> None:
        """Calls ``undo`` on revert."""
        self._entries.append(undo)

    def adopt(self, place: Place, before: object) -> None:
        """Takes over a change that was made without the journal: ``place`` held ``before``."""
        self._entries.append(Change(place, before, place.read()))

    def _write(self, place: Place, value: object) -> None:
        before = place.read()
        place.write(value)
        self._entries.append(Change(place, before, place.read()))

    def overwritten(self) -> Iterator[Change]:
        """The places that no longer hold what this journal wrote there last."""
        last = {change.place.key: change for change in self.changes}
        for change in last.values():
            if change.place.read() is not change.after:
                yield change

    def undo(self) -> None:
        """Takes every change back, newest first. One that fails does not keep the others; the first failure is raised at the end."""
        failures: list[Exception] = []
        while self._entries:
            entry = self._entries.pop()
            try:
                if isinstance(entry, Change):
                    entry.place.write(entry.before)
                else:
                    entry()
            except Exception as error:  # noqa: BLE001  # collected and raised below: the other changes have to come back all the same
                failures.append(error)
        if failures:
            raise failures[0]


def _shown(owner: object) -> str:
    match owner:
        case type():
            return f"{owner.__module__}.{owner.__qualname__}"
        case _ if inspect.ismodule(owner):
            return owner.__name__
        case _:
            return f"<{type(owner).__name__}>"
