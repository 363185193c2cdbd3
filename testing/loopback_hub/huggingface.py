"""Hugging Face's routes, as far as its SDK uses them for models and data sets."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from twinkle.testing.loopback_hub.answer import Answer, Question, json_answer
from twinkle.testing.loopback_hub.listing import huggingface_list
from twinkle.testing.loopback_hub.repository import Repository, StoredCommit, git_blob
from twinkle.testing.loopback_hub.state import HubState


def answer(hub: HubState, question: Question) -> Answer | None:
    """The answer to a Hugging Face request; None where it is none."""
    path = question.path
    if path == "/api/whoami-v2":
        return json_answer({"name": "me", "type": "user", "orgs": []})
    if path == "/api/validate-yaml":
        return json_answer({"errors": [], "warnings": []})
    if path == "/api/repos/create":
        return _create(hub, question.json())
    if path == "/api/models" and question.method == "GET":
        return huggingface_list(hub, question)
    if match := re.fullmatch(r"/api/(?P<type>models|datasets|kernels)/(?P<repo>[^/]+/[^/]+)(?:/(?P<rest>.*))?", path):
        repository = _repository(hub, match["repo"], match["type"])
        if repository is None:
            return _error("RepoNotFound", 404)
        return _of_repository(hub, repository, match["rest"] or "", question)
    resolve = r"/(?:(?P<type>datasets|kernels)/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+|refs/pr/\d+)/(?P<file>.+)"
    if match := re.fullmatch(resolve, path):
        repository = _repository(hub, match["repo"], match["type"])
        return _error("RepoNotFound", 404) if repository is None else _file(repository, match["revision"], match["file"], question)
    return None


def _repository(hub: HubState, name: str, kind: str | None) -> Repository | None:
    repository = hub.repositories.get(("hf", name))
    return repository if repository is not None and repository.is_kernel == (kind == "kernels") else None


def _of_repository(hub: HubState, repository: Repository, rest: str, question: Question) -> Answer | None:
    action, _, argument = rest.partition("/")
    match action:
        case "" | "revision":
            commit = repository.find(argument or None)
            if commit is None:
                return _error("RevisionNotFound", 404)
            siblings = [{"rfilename": path} for path in commit.files]
            info = {"_id": "0", "id": repository.name, "sha": commit.id, "lastModified": commit.date, "siblings": siblings}
            return json_answer(
                {**info, "private": repository.private, "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
            )
        case "tree":
            return _tree(hub, repository, argument, question)
        case "refs":
            branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repository.branches.items()]
            tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repository.tags.items()]
            return json_answer({"branches": branches, "converts": [], "tags": tags})
        case "commits":
            commit = repository.find(argument)
            if commit is None:
                return _error("RevisionNotFound", 404)
            return json_answer([_commit_info(c) for c in repository.history(commit.id)])
        case "preupload":
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in question.json()["files"]]
            return json_answer({"files": files})
        case "commit":
            return _commit(repository, argument, question)
        case "tag":
            name, found = question.json()["tag"], repository.find(argument)
            if name in repository.tags:
                return json_answer({"error": "tag exists"}, 409)
            if found is None:
                return _error("RevisionNotFound", 404)
            repository.tags[name] = found.id
            return json_answer({})
        case _:
            return None


def _tree(hub: HubState, repository: Repository, revision: str, question: Question) -> Answer:
    commit = repository.find(revision)
    if commit is None:
        return _error("RevisionNotFound", 404)
    entries: list[dict[str, Any]] = [
        {"type": "file", "path": path, "size": len(data), "oid": git_blob(data)} for path, data in sorted(commit.files.items())
    ]
    fault = hub.fault(f"{question.method} {question.path}", ("listing",))
    if fault is not None:
        entries += [{"type": "file", "path": path, "size": size, "oid": "0" * 40} for path, size in fault.entries.items()]
    return json_answer(entries)


def _file(repository: Repository, revision: str, path: str, question: Question) -> Answer:
    commit = repository.find(revision)
    if commit is None:
        return _error("RevisionNotFound", 404)
    data = commit.files.get(path)
    if data is None:
        return _error("EntryNotFound", 404)
    headers = {"ETag": f'"{git_blob(data)}"', "X-Repo-Commit": commit.id, "Accept-Ranges": "bytes"}
    if question.method == "HEAD":
        return Answer(headers={**headers, "Content-Length": str(len(data))})
    match = re.fullmatch(r"bytes=(\d+)-\d*", question.headers.get("range", ""))
    if match:
        start = int(match[1])
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return Answer(status=206, body=data[start:], headers=headers, is_file=True)
    return Answer(body=data, headers=headers, is_file=True)


def _create(hub: HubState, body: dict[str, Any]) -> Answer:
    name = f"{body.get('organization') or 'me'}/{body['name']}"
    url = f"http://127.0.0.1/{name}"
    if ("hf", name) in hub.repositories:
        return json_answer({"error": "You already created this model repo", "url": url}, 409)
    repository = hub.repository("hf", name, {".gitattributes": b"*.bin filter=lfs\n"})
    repository.private = body.get("visibility") == "private" or bool(body.get("private"))
    return json_answer({"url": url, "name": name, "id": "0"})


def _commit(repository: Repository, revision: str, question: Question) -> Answer:
    files: dict[str, bytes] = {}
    remove: list[str] = []
    message = ""
    for line in question.body.splitlines():
        item = json.loads(line)
        value = item["value"]
        match item["key"]:
            case "header":
                message = value.get("summary", "")
                parent = value.get("parentCommit")
                if parent is not None and parent != repository.branches.get(revision):
                    return json_answer({"error": "A commit has happened since. Please refresh and try again."}, 412)
            case "file":
                files[value["path"]] = base64.b64decode(value["content"])
            case "deletedFile":
                remove.append(value["path"])
            case other:
                return json_answer({"error": f"unexpected {other}"}, 400)
    commit_id = repository.commit(files, remove=remove, branch=revision, message=message)
    url = f"http://127.0.0.1/{repository.name}/commit/{commit_id}"
    return json_answer({"success": True, "commitOid": commit_id, "commitUrl": url, "hookOutput": ""})


def _commit_info(commit: StoredCommit) -> dict[str, Any]:
    return {"id": commit.id, "title": commit.message, "message": "", "date": commit.date, "authors": []}


def _error(code: str, status: int) -> Answer:
    return json_answer({"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code})
