"""Who may run. :meth:`TrustPolicy.authorize` is the only door: nothing else makes an :class:`Approval`, and nothing runs without one.

The argument, in four lines. (1) Only the loader runs foreign bytes, and it takes them out of an ``Approval``. (2) Only ``authorize`` makes
one. (3) It does so for bytes whose digest stands in a grant for their repository, or that lie in a folder which only this user can write.
(4) A grant is an exact digest that a person, or the operator's lock, approved; no name, path, file or answer of a hub can add one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from twinkle.core.settings import Settings
from twinkle.hub_loader.audit import write_audit_line
from twinkle.hub_loader.errors import UntrustedComponent
from twinkle.hub_loader.grant import Grant, grants_of_environment
from twinkle.hub_loader.lock import FILE_NAME as LOCK_NAME
from twinkle.hub_loader.lock import grants_of_lock, lock_digest
from twinkle.hub_loader.signature import check_signature, read_signers, signer_for
from twinkle.hub_loader.tree import ComponentTree
from twinkle.hub_loader.trust_store import TrustStore

_OFF = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """Bytes that ask to run, and where they came from. The origin is what was asked for, never read out of a path or a file."""

    tree: ComponentTree
    origin: Literal["file", "hub"]
    where: str
    """The reference, as it is shown."""
    shown_root: str
    """The folder that tracebacks name."""
    repo: str = ""
    """``scheme://owner/name`` of a hub component."""
    commit: str = ""
    date: str | None = None
    """When the hub says that the commit was made."""
    previous: ComponentTree | None = None
    """What was approved last of the same repository."""


Consent = Callable[[Candidate], bool]
"""Asks somebody; true is consent to exactly the candidate's digest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Approval:
    """Bytes that may run in this process. Only :meth:`TrustPolicy.authorize` makes one."""

    tree: ComponentTree
    where: str
    shown_root: str
    trust: str
    """Why: "local", "lock:<line>", "store:<when>" or "env"."""


@dataclass(frozen=True, kw_only=True)
class TrustPolicy:
    """What this process lets run. The empty policy lets nothing run."""

    home: Path
    """Where the audit trail is written."""
    allows_local: bool = False
    """Whether the user's own folders may run: not in a server."""
    hubs_forbidden: str | None = None
    """Why no hub component may run at all; None where grants decide."""
    offline: bool = False
    grants: tuple[Grant, ...] = ()
    """In the order in which they are preferred."""
    pending: tuple[Grant, ...] = ()
    """What a lock file grants that this user has not accepted yet: it counts for nothing."""
    owners: frozenset[str] = frozenset()
    """``scheme://owner`` whose repositories are pinned on first use."""
    revoked: frozenset[str] = frozenset()
    signers: Mapping[str, str] = field(default_factory=dict)
    """``scheme://owner/*`` or a repository -> the public key that has to have signed."""
    consent: Consent | None = None
    """Whom to ask about an unapproved component; None: it is refused with zero network."""
    remembers: bool = True
    """Whether consent is written to the user's trust store."""

    @classmethod
    def of(cls, settings: Settings, project: Path, consent: Consent | None = None) -> TrustPolicy:
        """The policy of a user's own process: lock of ``project``, ``TWINKLE_TRUST``, and the user's trust store."""
        switch = (settings.trust_remote_code or "").strip().lower()
        if switch and switch not in _OFF:
            message = (
                f"TWINKLE_TRUST_REMOTE_CODE={settings.trust_remote_code} allows nothing: approve components with 'twinkle plugin trust'"
            )
            warnings.warn(message, DeprecationWarning, stacklevel=2)
        record = TrustStore(settings.home).read()
        lock = project / LOCK_NAME
        locked = grants_of_lock(lock)
        accepted = settings.lock_trust_project or lock_digest(lock) in record.locks
        others = () if settings.locked else (*grants_of_environment(settings.trusted), *record.grants)
        return cls(
            home=settings.home,
            allows_local=True,
            hubs_forbidden="TWINKLE_TRUST_REMOTE_CODE=0 forbids every component of a hub" if switch in _OFF else None,
            offline=settings.offline,
            grants=(*(locked if accepted else ()), *others),
            pending=() if accepted else locked,
            owners=frozenset() if settings.locked else record.owners,
            revoked=record.revoked | read_deny_list(settings.home),
            signers=read_signers(settings.home),
            consent=None if settings.locked or settings.offline else consent,
        )

    @classmethod
    def server(cls, settings: Settings, project: Path) -> TrustPolicy:
        """The policy of a server: the operator's lock alone. No folder, no question, no owner, no store."""
        user = cls.of(replace(settings, locked=True, lock_trust_project=True), project)
        return replace(user, allows_local=False, consent=None)

    def with_grant(self, grant: Grant) -> TrustPolicy:
        """The same policy with one more digest."""
        return replace(self, grants=(grant, *self.grants))

    def refuse_early(self, repo: str, ref: str) -> None:
        """Raises :class:`UntrustedComponent` where no answer of a hub could change the verdict. Does no network."""
        if self.hubs_forbidden is not None:
            raise UntrustedComponent(f"{ref}: {self.hubs_forbidden}")
        for name in (repo, owner_of(repo)):
            if name in self.revoked:
                raise UntrustedComponent(f"{ref}: {name} was revoked; 'twinkle plugin trust {ref}' takes that back")

    def knows(self, repo: str) -> bool:
        """Whether some digest of ``repo`` was approved, so that asking the hub about it tells nobody anything new."""
        return any(grant.repo == repo for grant in self.grants)

    def grant_for(self, repo: str, revision: str | None) -> Grant | None:
        """The grant that decides without asking the hub: a lock line for this very reference, or one for a full commit.

        Offline, what was approved for the same spelling counts too, since the hub cannot be asked where a branch is now.
        """
        for grant in self.grants:
            if grant.repo == repo and (grant.commit == revision or (grant.requested == revision and (grant.is_locked or self.offline))):
                return grant
        return None

    def grant_at(self, repo: str, commit: str) -> Grant | None:
        """The grant for a commit."""
        return next((grant for grant in self.grants if (grant.repo, grant.commit) == (repo, commit)), None)

    def last_grant(self, repo: str) -> Grant | None:
        """What was approved last of ``repo``."""
        return next((grant for grant in reversed(self.grants) if grant.repo == repo), None)

    def authorize(self, candidate: Candidate) -> Approval:
        """Leave for ``candidate`` to run, written to the audit trail before it is given.

        Raises:
            UntrustedComponent: nobody gave it.
        """
        h1 = candidate.tree.h1
        if h1 in self.revoked:
            raise UntrustedComponent(f"{candidate.where}: {h1} was revoked")
        if candidate.origin == "file":
            if not self.allows_local:
                raise UntrustedComponent(f"{candidate.where}: a server runs no code from folders; put a component into its lock")
            trust = "local"
        else:
            self.refuse_early(candidate.repo, candidate.where)
            exact = (candidate.repo, candidate.commit, h1)
            grant = next((grant for grant in self.grants if (grant.repo, grant.commit, grant.h1) == exact), None)
            if grant is None:
                raise UntrustedComponent(f"{candidate.where} ({h1}) is not approved: twinkle plugin trust {candidate.where}")
            signer = signer_for(self.signers, candidate.repo)
            if signer is not None:
                check_signature(candidate.tree, signer, candidate.where)
            trust = grant.why
        write_audit_line(self.home, ref=candidate.where, commit=candidate.commit or None, h1=h1, trust=trust)
        return Approval(tree=candidate.tree, where=candidate.where, shown_root=candidate.shown_root, trust=trust)


def owner_of(repo: str) -> str:
    """``scheme://owner`` of ``scheme://owner/name``."""
    return repo.rpartition("/")[0]


def read_deny_list(home: Path) -> frozenset[str]:
    """``$TWINKLE_HOME/deny.txt``: a repository, an owner or an h1 a line, for operators; '#' begins a comment."""
    path = home / "deny.txt"
    if not path.is_file():
        return frozenset()
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return frozenset(line for line in lines if line)
