"""ModelScope's routes, as far as its SDK uses them for models and data sets."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from twinkle.testing.loopback_hub.answer import Answer, Question, json_answer
from twinkle.testing.loopback_hub.listing import modelscope_list
from twinkle.testing.loopback_hub.repository import LINK, Repository
from twinkle.testing.loopback_hub.state import HubState

_REPO = r"(?P<type>models|datasets)/(?P<repo>[^/]+/[^/]+)"
_BLOBS = "/ms-blobs/"
_NO_REPO = {"Code": 10010205001, "Message": "repository not found", "Success": False}
_NO_FILE = {"Code": 10990101007, "Message": "file not found", "Success": False}


def answer(hub: HubState, question: Question) -> Answer | None:
    """The answer to a ModelScope request; None where it is none."""
    path, method = question.path, question.method
    if match := re.fullmatch(r"/(?:datasets/)?(?P<repo>[^/]+/[^/]+)\.git/info/refs", path):
        return _advertise(hub.repositories.get(("ms", match["repo"])))
    if path == "/api/v1/models" and method == "POST":
        return _create(hub, question.json())
    if match := re.fullmatch(rf"/api/v1/repos/{_REPO}/commit/(?P<revision>.+)", path):
        return _commit(hub, hub.repositories.get(("ms", match["repo"])), match["revision"], question.json())
    if re.fullmatch(rf"/api/v1/repos/{_REPO}/info/lfs/objects/batch", path):
        return _large_files(hub, question)
    if path.startswith(_BLOBS) and method == "PUT":
        return _store_blob(hub, path.removeprefix(_BLOBS), question.body)
    if match := re.fullmatch(rf"/api/v1/{_REPO}(?P<rest>/.*)?", path):
        repository = hub.repositories.get(("ms", match["repo"]))
        if repository is None:
            return json_answer(_NO_REPO, 404)
        return _of_repository(hub, repository, (match["rest"] or ""), question)
    if path == "/openapi/v1/models" and method == "GET":
        return modelscope_list(hub, question)
    if path.startswith("/openapi/v1/models/"):
        found = hub.repositories.get(("ms", path.removeprefix("/openapi/v1/models/")))
        return json_answer({"success": True, "data": {"id": found.name}}) if found else json_answer({"success": False}, 404)
    return None


def _of_repository(hub: HubState, repository: Repository, rest: str, question: Question) -> Answer | None:
    revision = question.query.get("Revision", "master")
    match question.method, rest:
        case "GET", "":
            return json_answer({"Code": 200, "Success": True, "Data": {"Name": repository.name}})
        case "GET", "/repo/files" | "/repo/tree":
            return _list(hub, repository, revision, question)
        case "GET", "/repo":
            return _file(repository, revision, question)
        case "GET", "/revisions":
            branches = [{"Revision": name} for name in repository.branches]
            tags = [{"Revision": name} for name in repository.tags]
            return json_answer({"Code": 200, "Data": {"RevisionMap": {"Branches": branches, "Tags": tags}}, "Success": True})
        case "POST", "/repo/tag":
            body = question.json()
            found = repository.find(body["Ref"])
            if found is None or body["TagName"] in repository.tags:
                return json_answer({"Code": 400, "Message": "tag exists or revision not found", "Success": False}, 400)
            repository.tags[body["TagName"]] = found.id
            return json_answer({"Code": 200, "Data": {}, "Success": True})
        case "DELETE", "/file" | "/repo":
            repository.commit({}, remove=[question.query["FilePath"]], message="delete")
            return json_answer({"Code": 200, "Data": {}, "Success": True})
        case _:
            return None


def _list(hub: HubState, repository: Repository, revision: str, question: Question) -> Answer:
    commit = repository.find(revision)
    if commit is None:
        return json_answer({"Code": 200, "Data": {"Files": None}, "Success": True})  # as the service does for an unknown revision
    files: list[dict[str, Any]] = []
    for path, data in sorted(commit.files.items()):
        kind = "symlink" if data.startswith(LINK.encode()) else "blob"
        digest = hashlib.sha256(data).hexdigest()
        files.append(
            {"Path": path, "Name": path.rpartition("/")[2], "Size": len(data), "Sha256": digest, "Type": kind, "Revision": commit.id}
        )
    fault = hub.fault(f"{question.method} {question.path}", ("listing",))
    if fault is not None:
        kind = "symlink" if fault.is_link else "blob"
        files += [{"Path": p, "Name": p, "Size": size, "Sha256": None, "Type": kind} for p, size in fault.entries.items()]
    return json_answer({"Code": 200, "Data": {"Files": files, "TotalCount": len(files)}, "Success": True})


def _file(repository: Repository, revision: str, question: Question) -> Answer:
    commit = repository.find(revision)
    data = None if commit is None else commit.files.get(question.query.get("FilePath", ""))
    if data is None:
        return json_answer(_NO_FILE, 404)
    start = _range_start(question)
    if start:
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        return Answer(status=206, body=data[start:], headers=headers, is_file=True)
    return Answer(body=data, headers={"Content-Type": "application/octet-stream"}, is_file=True)


def _range_start(question: Question) -> int:
    match = re.fullmatch(r"bytes=(\d+)-\d*", question.headers.get("range", ""))
    return int(match[1]) if match else 0


def _create(hub: HubState, body: dict[str, Any]) -> Answer:
    name = f"{body['Path']}/{body['Name']}"
    if ("ms", name) in hub.repositories:
        return json_answer({"Code": 10020101001, "Message": "already exists", "Success": False}, 409)
    repository = hub.repository("ms", name, {".gitattributes": b"* text=auto\n", "configuration.json": b"{}"})
    repository.private = body.get("Visibility") == 1
    return json_answer({"Code": 200, "Data": {"Path": body["Path"], "Name": body["Name"]}, "Success": True})


def _large_files(hub: HubState, question: Question) -> Answer:
    """Where to put each large file that is not here yet."""
    answers: list[dict[str, Any]] = []
    for wanted in question.json()["objects"]:
        href = f"http://{question.headers['host']}{_BLOBS}{wanted['oid']}"
        answers.append({**wanted, **({} if wanted["oid"] in hub.blobs else {"actions": {"upload": {"href": href}}})})
    return json_answer({"Code": 200, "Data": {"objects": answers}, "Success": True})


def _store_blob(hub: HubState, oid: str, data: bytes) -> Answer:
    if hashlib.sha256(data).hexdigest() != oid:
        return json_answer({"Code": 400, "Message": "the bytes are not those of the digest", "Success": False}, 400)
    hub.blobs[oid] = data
    return json_answer({"Code": 200, "Data": {}, "Success": True})


def _commit(hub: HubState, repository: Repository | None, revision: str, body: dict[str, Any]) -> Answer:
    if repository is None:
        return json_answer(_NO_REPO, 404)
    files: dict[str, bytes] = {}
    remove: list[str] = []
    for action in body["actions"]:
        if action["action"] == "delete":
            remove.append(action["path"])
        else:
            files[action["path"]] = hub.blobs[action["sha256"]] if action["type"] == "lfs" else base64.b64decode(action["content"])
    commit_id = repository.commit(files, remove=remove, branch=revision, message=body["commit_message"])
    return json_answer({"Code": 200, "Data": {"Id": commit_id, "commit_id": commit_id}, "Success": True})


def _advertise(repository: Repository | None) -> Answer:
    if repository is None:
        return Answer(status=404)
    names = {"HEAD": repository.head} if repository.head else {}
    names |= {f"refs/heads/{name}": commit for name, commit in repository.branches.items()}
    names |= {f"refs/tags/{name}": commit for name, commit in repository.tags.items()}
    body = _packet("# service=git-upload-pack\n") + b"0000"
    for index, (name, commit) in enumerate(names.items()):
        body += _packet(f"{commit} {name}" + ("\0multi_ack side-band-64k" if index == 0 else "") + "\n")
    return Answer(body=body + b"0000", headers={"Content-Type": "application/x-git-upload-pack-advertisement"})


def _packet(text: str) -> bytes:
    return f"{len(text.encode()) + 4:04x}{text}".encode()
