"""The loopback hub itself: immutable commits, a log of every request, faults that do what they say."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from twinkle.testing.loopback_hub import Fault, LoopbackHub


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        yield server


def get(hub: LoopbackHub, path: str) -> tuple[int, bytes]:
    """Status and body of a plain request."""
    connection = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc, timeout=5)
    try:
        connection.request("GET", path, headers={"Authorization": "Bearer t", "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_commit_keeps_its_bytes_while_the_branch_moves(hub: LoopbackHub) -> None:
    repository = hub.repository("hf", "o/r", {"a.txt": b"one"})
    first = repository.head
    second = repository.commit({"a.txt": b"two"})
    assert first != second
    assert get(hub, f"/o/r/resolve/{first}/a.txt") == (200, b"one")
    assert get(hub, "/o/r/resolve/main/a.txt") == (200, b"two")
    assert [commit.id for commit in repository.history(second)] == [second, first]


def test_a_proposal_is_on_no_branch(hub: LoopbackHub) -> None:
    repository = hub.repository("hf", "o/r", {"a.txt": b"one"})
    proposal = repository.propose({"a.txt": b"outsider"})
    refs = json.loads(get(hub, "/api/models/o/r/refs")[1])
    assert proposal not in {branch["targetCommit"] for branch in refs["branches"]}
    assert get(hub, f"/o/r/resolve/{proposal}/a.txt") == (200, b"outsider")


def test_modelscope_answers_an_unknown_revision_with_nothing(hub: LoopbackHub) -> None:
    hub.repository("ms", "o/r", {"a.txt": b"one"})
    status, body = get(hub, "/api/v1/models/o/r/repo/files?Revision=nope&Recursive=True")
    assert (status, json.loads(body)["Data"]) == (200, {"Files": None})
    assert get(hub, "/api/v1/models/o/none/repo/files?Revision=master")[0] == 404


def test_every_request_is_logged_with_its_authorization(hub: LoopbackHub) -> None:
    get(hub, "/nothing/here?x=1")
    assert hub.paths() == ["GET /nothing/here?x=1"]
    assert hub.log[0].authorization == "Bearer t"


def test_faults_apply_as_often_as_they_say(hub: LoopbackHub) -> None:
    hub.repository("hf", "o/r", {"a.txt": b"one"})
    path = "/o/r/resolve/main/a.txt"
    hub.faults.append(Fault(kind="status", path="resolve", status=503, times=1))
    assert get(hub, path)[0] == 503
    assert get(hub, path) == (200, b"one")
    hub.faults[:] = [Fault(kind="flip", path=r"a\.txt")]
    assert get(hub, path) == (200, b"nne")
    for kind in ("truncate", "wrong_length"):
        hub.faults[:] = [Fault(kind=kind)]  # type: ignore[arg-type]
        with pytest.raises(http.client.IncompleteRead):
            get(hub, path)
    hub.faults[:] = [Fault(kind="redirect", location="http://127.0.0.1:9/x")]
    assert get(hub, path)[0] == 302
    hub.faults[:] = [Fault(kind="slow", pause_s=0.001)]
    assert get(hub, path) == (200, b"one")
