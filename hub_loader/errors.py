"""The errors of the hub loader. Each is also an error of the standard library, and pickles as one message."""

from __future__ import annotations

from twinkle.core.errors import HubUnavailable, TwinkleError


class UntrustedComponent(TwinkleError, PermissionError):
    """Nobody has approved these exact bytes; the message has the command that does."""


class Tampered(TwinkleError, ValueError):
    """Bytes differ from what was approved or announced; the message names the file."""


class ForbiddenFile(TwinkleError, ValueError):
    """A path, file type or size that a component may not have."""


class InvalidManifest(TwinkleError, ValueError):
    """``twinkle-component.toml`` breaks a rule; the message names the key."""


class NoComponent(TwinkleError, LookupError):
    """A repository or folder has no component of the kind or name that is asked for."""


class FailedTests(TwinkleError, RuntimeError):
    """A component's own tests failed, so that it is not published."""


class IncompatibleComponent(TwinkleError, ImportError):
    """The manifest asks for other versions than those that are installed."""


class RevisionNotFound(HubUnavailable, LookupError):
    """The repository has no such revision, or nothing in it."""
