"""The errors users see: one tree, every leaf also a standard-library error, every message says what was expected, what came, what to do."""

from __future__ import annotations


class TwinkleError(Exception):
    """Root of the tree. Leaves carry one message, so that they pickle across processes."""


class InvalidRef(TwinkleError, ValueError):
    """A component, model or data id that the grammar does not accept."""


class UnknownComponent(TwinkleError, LookupError):
    """No registered component, kind or scheme has this name."""


class AmbiguousComponent(TwinkleError, LookupError):
    """Several installed packages, or several classes of one repository, claim the name."""


class BrokenComponent(TwinkleError, ImportError):
    """A component or a plugin that could not be imported."""


class ContractViolation(TwinkleError, TypeError):
    """An object that lacks what the contract of its kind asks for."""


class InvalidArgument(TwinkleError, TypeError):
    """An argument that nothing takes, or a value of the wrong kind."""


class UnsuitableLayer(InvalidArgument):
    """A layer that does not compute what a kernel computes."""


class InvalidConfig(TwinkleError, ValueError):
    """A setting, configuration file or mesh that cannot work."""


class InvalidData(TwinkleError, ValueError):
    """A file, row or sample that cannot be used; the message names it."""


class CheckpointError(TwinkleError, OSError):
    """A checkpoint that could not be written or read; what was there before is untouched."""


class MissingExtra(TwinkleError, ImportError):
    """A feature whose optional dependency is not installed; the message has the command that installs it."""


class HubUnavailable(TwinkleError, OSError):
    """No hub can serve this id: none is installed, it is unreachable, or the id is not there."""


class PatchConflict(TwinkleError, RuntimeError):
    """A patch that cannot be applied or reverted because of another one, or of a change behind its back; the message names the culprit."""


class PatchRefused(TwinkleError, RuntimeError):
    """A patch that says itself that it must not be applied here: other versions, or other code than it was written for."""
