"""The search of both services: repositories by their card's tag and a part of their name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from twinkle.testing.loopback_hub.answer import Answer, Question, json_answer
from twinkle.testing.loopback_hub.repository import Repository
from twinkle.testing.loopback_hub.state import HubState, Service

_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def huggingface_list(hub: HubState, question: Question) -> Answer:
    """``GET /api/models``."""
    found = _listed(hub, "hf", question.query, "filter", question)
    items = [{"_id": "0", "id": r.name, "private": r.private, "tags": tags, "lastModified": _date(r)} for r, tags in found]
    return json_answer(items[: int(question.query.get("limit", "1000"))])


def modelscope_list(hub: HubState, question: Question) -> Answer:
    """``GET /openapi/v1/models``."""
    page, size = int(question.query.get("page_number", "1")), int(question.query.get("page_size", "10"))
    found = _listed(hub, "ms", question.query, "filter.custom_tag", question)
    items: list[dict[str, Any]] = [
        {"id": r.name, "description": "", "private": r.private, "tags": [f"custom_tag:{tag}" for tag in tags], "last_modified": _date(r)}
        for r, tags in found
    ]
    data = {"models": items[(page - 1) * size : page * size], "total_count": len(items), "page_number": page, "page_size": size}
    return json_answer({"success": True, "data": data})


def _listed(
    hub: HubState, service: Service, query: Mapping[str, str], tag_key: str, question: Question
) -> list[tuple[Repository, list[str]]]:
    """Private repositories only for somebody who is logged in."""
    wanted, text = query.get(tag_key), query.get("search", "").lower()
    is_known = "authorization" in question.headers
    mine = [r for (of, _), r in sorted(hub.repositories.items()) if of == service and (is_known or not r.private)]
    tagged = [(r, _tags(r)) for r in mine if text in r.name.lower()]
    return [(r, tags) for r, tags in tagged if wanted is None or wanted in tags]


def _tags(repository: Repository) -> list[str]:
    commit = repository.find(None)
    card = "" if commit is None else commit.files.get("README.md", b"").decode()
    front = _FRONT_MATTER.match(card)
    return re.findall(r"^- (.+)$", front[1], re.MULTILINE) if front else []


def _date(repository: Repository) -> str | None:
    commit = repository.find(None)
    return None if commit is None else commit.date
