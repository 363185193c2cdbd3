"""Components of a hub: policy first, then resolve, list, fetch, hash, consent, store, check, import. Refused means zero network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from twinkle.core.contracts.component_hub import Commit, HubReader
from twinkle.core.errors import HubUnavailable
from twinkle.core.kinds import KindSpec
from twinkle.core.refs import FileRef, HubRef
from twinkle.core.resolved import Resolved
from twinkle.hub_loader.component_entry import find_entry, load_entry
from twinkle.hub_loader.errors import RevisionNotFound, Tampered, UntrustedComponent
from twinkle.hub_loader.fetch import changed_paths, fetch_tree, list_component
from twinkle.hub_loader.grant import Grant, repo_of
from twinkle.hub_loader.store import ComponentStore
from twinkle.hub_loader.tree import ComponentTree
from twinkle.hub_loader.trust import Candidate, TrustPolicy, owner_of
from twinkle.hub_loader.trust_store import TrustStore


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """Resolves and loads ``ms://``, ``hf://`` and other hub references under one policy."""

    policy: TrustPolicy
    kinds: Mapping[str, KindSpec]
    reader: Callable[[str], HubReader]
    """Scheme -> hub; called only when the network is needed."""
    store: ComponentStore
    trust_store: TrustStore

    def resolve(self, kind: str, ref: HubRef | FileRef) -> Resolved:
        """The component that ``ref`` means, approved, in the store and verified, not imported.

        Raises:
            UntrustedComponent: its bytes are not approved; zero network where the repository never was.
            Tampered, ForbiddenFile, RevisionNotFound, HubUnavailable: what the hub sends is not what it should be.
        """
        assert isinstance(ref, HubRef)
        grant = self.obtain(ref)
        tree = self.tree_of(grant, str(ref))
        found = find_entry(tree, self.kinds[kind], ref.component, str(ref), PurePath(ref.repo))
        return Resolved(
            kind=kind,
            name=found.name,
            entry=found.entry,
            origin="hub",
            ref=str(ref),
            repo=grant.repo,
            commit=grant.commit,
            h1=grant.h1,
            version=found.version,
            conflicts=found.conflicts,
            after=found.after,
            trust=grant.why,
            trace=(f"{str(ref)!r} is a hub id", f"commit {grant.commit}, {grant.h1}, approved by {grant.why}", found.why),
        )

    def load(self, resolved: Resolved) -> Any:
        """Imports what :meth:`resolve` found, from the store's bytes, verified once more; asks no hub.

        Raises:
            UntrustedComponent: this process did not approve it.
            Tampered: the store has other bytes.
        """
        assert resolved.repo is not None and resolved.commit is not None and resolved.h1 is not None
        grant = self.policy.grant_at(resolved.repo, resolved.commit)
        tree = self.store.get(resolved.h1, grant.files if grant is not None else None)
        if tree is None:
            raise HubUnavailable(f"{resolved.ref} ({resolved.h1}) is not in the store of this machine: resolve it here first")
        return load_entry(
            self.policy.authorize(self._candidate_of(tree, resolved.repo, resolved.commit)), self.kinds[resolved.kind], resolved.entry
        )

    def obtain(self, ref: HubRef) -> Grant:
        """The grant for ``ref``: an existing one, or a new one from whoever may give it.

        Raises:
            UntrustedComponent: there is none and nobody to ask, or the answer was no.
        """
        repo = repo_of(ref)
        self.policy.refuse_early(repo, str(ref))
        grant = self.policy.grant_for(repo, ref.revision)
        if grant is not None:
            return grant
        if self.policy.offline:
            raise UntrustedComponent(f"{ref} is not approved, and nothing can be fetched while offline: {_command(ref)}")
        if self.policy.knows(repo):
            commit = self.reader(ref.scheme).resolve(ref.repo_id, ref.revision)
            grant = self.policy.grant_at(repo, commit.id)
            if grant is not None:
                return grant
            if self.policy.consent is None:
                raise UntrustedComponent(self._changed(ref, commit))
            return self._ask(ref, commit)
        if owner_of(repo) in self.policy.owners:
            commit = self.reader(ref.scheme).resolve(ref.repo_id, ref.revision)
            return self._record(self.candidate(ref, commit), ref)
        if self.policy.consent is None:
            raise UntrustedComponent(self._refusal(ref, repo))
        return self._ask(ref, self.reader(ref.scheme).resolve(ref.repo_id, ref.revision))

    def candidate(self, ref: HubRef, commit: Commit, expected_h1: str | None = None, allow_unmerged: bool = False) -> Candidate:
        """The bytes of ``ref`` at ``commit``, fetched into memory for somebody to look at. Nothing is stored, nothing runs.

        Raises:
            UntrustedComponent: the commit is on no published branch or tag (an outsider's proposal), or the hub cannot tell and no
                digest was given, or the digest is another one.
        """
        reader = self.reader(ref.scheme)
        repo = repo_of(ref)
        self._check_published(reader, ref, commit, expected_h1, allow_unmerged)
        tree = fetch_tree(reader, ref.repo_id, commit.id, str(ref))
        if expected_h1 is not None and tree.h1 != expected_h1:
            raise UntrustedComponent(f"{ref} at {commit.id} has the digest {tree.h1}, expected was {expected_h1}")
        last = self.policy.last_grant(repo)
        previous = self.store.get(last.h1, last.files) if last is not None else None
        return self._candidate_of(tree, repo, commit.id, commit.date, previous)

    def stored_candidate(self, tree: ComponentTree, grant: Grant) -> Candidate:
        """The bytes of a grant, as they ask to run."""
        return self._candidate_of(tree, grant.repo, grant.commit)

    def tree_of(self, grant: Grant, where: str) -> ComponentTree:
        """The bytes of a grant: from the store, else fetched, compared with the digest, and stored.

        Raises:
            Tampered: the hub sends other bytes than were approved.
        """
        tree = self.store.get(grant.h1, grant.files)
        if tree is not None:
            return tree
        if self.policy.offline:
            raise HubUnavailable(f"{where} is approved but not in the store, and nothing can be fetched while offline")
        tree = self._fetch_granted(grant, where)
        self.store.put(tree)
        return tree

    def _fetch_granted(self, grant: Grant, where: str) -> ComponentTree:
        twins = [g for g in self.policy.grants if g.h1 == grant.h1 and g.is_locked and g.repo != grant.repo]  # mirrors of the lock
        failure: HubUnavailable | None = None
        for place in (grant, *twins):
            scheme, _, repo = place.repo.partition("://")
            try:
                tree = fetch_tree(self.reader(scheme), repo, place.commit, where)
            except RevisionNotFound:
                raise
            except HubUnavailable as error:
                failure = failure or error
                continue
            if tree.h1 != grant.h1:
                wrong = [path for path, digest in tree.digests.items() if grant.files and grant.files.get(path) != digest]
                named = f" in {', '.join(map(ascii, wrong))}" if wrong else ""
                raise Tampered(f"{where}: digest changed{named}: approved was {grant.h1} at {grant.commit}, the hub sends {tree.h1}")
            return tree
        assert failure is not None
        raise failure

    def _ask(self, ref: HubRef, commit: Commit) -> Grant:
        assert self.policy.consent is not None
        candidate = self.candidate(ref, commit)
        if self.policy.consent(candidate) is not True:
            raise UntrustedComponent(f"{ref} at {commit.id} ({candidate.tree.h1}) was not approved")
        return self._record(candidate, ref)

    def _record(self, candidate: Candidate, ref: HubRef) -> Grant:
        grant = grant_of(candidate, ref, "call")
        if self.policy.remembers:
            grant = self.trust_store.approve(grant)
        self.store.put(candidate.tree)
        return grant

    def _check_published(self, reader: HubReader, ref: HubRef, commit: Commit, expected_h1: str | None, allow_unmerged: bool) -> None:
        refs = reader.refs(ref.repo_id)
        if commit.id in refs.tips.values() or (refs.history is not None and commit.id in refs.history):
            return
        if refs.history is None:
            if expected_h1 is None:
                raise UntrustedComponent(
                    f"{ref}: commit {commit.id} is the tip of no branch or tag, and this hub has no history to prove it published: "
                    f"give its digest with '{_command(ref)} --sha256 h1:...'"
                )
            return
        if not allow_unmerged or expected_h1 is None:
            raise UntrustedComponent(
                f"{ref}: commit {commit.id} is on no branch or tag: anybody can have proposed it. If that is meant: "
                f"'{_command(ref)} --allow-unmerged --sha256 h1:...'"
            )

    def _changed(self, ref: HubRef, commit: Commit) -> str:
        repo = repo_of(ref)
        last = self.policy.last_grant(repo)
        assert last is not None
        message = f"{ref}: digest changed: it now is commit {commit.id}, approved is {last.commit} ({last.h1})"
        old = self.store.get(last.h1, last.files)
        if old is not None:
            changed = changed_paths(old, list_component(self.reader(ref.scheme), ref.repo_id, commit.id, str(ref)))
            message += f"; changed: {', '.join(map(ascii, changed)) or 'nothing'}"
        return f"{message}. Look at it with 'twinkle plugin diff {ref}', approve it with '{_command(ref)}'"

    def _refusal(self, ref: HubRef, repo: str) -> str:
        if any(grant.repo == repo for grant in self.policy.pending):
            return (
                f"{ref} stands in the twinkle.lock of this project, which you have not accepted: look at it, then run "
                "'twinkle plugin trust --lock' (in CI: TWINKLE_LOCK_TRUST=project)"
            )
        return f"{ref} is not approved, so nothing of it was fetched. To look at it and approve it: {_command(ref)}"

    def _candidate_of(
        self, tree: ComponentTree, repo: str, commit: str, date: str | None = None, previous: ComponentTree | None = None
    ) -> Candidate:
        return Candidate(
            tree=tree,
            origin="hub",
            where=f"{repo}@{commit}",
            shown_root=str(self.store.folder(tree.h1)),
            repo=repo,
            commit=commit,
            date=date,
            previous=previous,
        )


def grant_of(candidate: Candidate, ref: HubRef, why: str) -> Grant:
    """A grant for exactly ``candidate``, as asked for by ``ref``."""
    return Grant(
        repo=candidate.repo,
        commit=candidate.commit,
        h1=candidate.tree.h1,
        why=why,
        requested=ref.revision,
        files=candidate.tree.digests,
    )


def _command(ref: HubRef) -> str:
    return f"twinkle plugin trust {str(ref).partition('#')[0]}"
