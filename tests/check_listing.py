"""The second half of docs/test_a_component.md, from the checks themselves. ``python tests/check_listing.py`` writes it there."""

from __future__ import annotations

from pathlib import Path

from twinkle.testing import all_checks

PAGE = Path(__file__).parent.parent / "docs" / "test_a_component.md"
MARK = "## What each check catches\n"


def listing() -> str:
    """Every check under its kind, with its own words."""
    lines, kind = [MARK], ""
    for check in all_checks():
        if check.kind != kind:
            kind = check.kind
            lines.append(f"### {'every kind' if kind == 'all' else kind}\n")
        tier = "" if check.tier == "cpu" else f" (tier {check.tier})"
        lines.append(f"**`{check.id}`**{tier}: {' '.join(check.doc.split())}\n")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text(encoding="utf-8").partition(MARK)[0] + listing(), encoding="utf-8")
