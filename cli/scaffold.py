"""What ``twinkle plugin init`` writes: for each kind a component that keeps its contract, and the tests that show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twinkle.core.errors import InvalidArgument
from twinkle.core.suggestion import did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaffold:
    """The parts of a component's folder that depend on its kind."""

    code: str
    """``impl.py``; ``{cls}`` is the class."""
    imports: str = "load_manifest, parametrize_with_checks"
    example: str = ""
    """How the checks build and feed it, as a Python expression; "" where they can do without."""
    setup: str = ""
    """What the example needs before."""


SCAFFOLDS = {
    "loss": Scaffold(
        code='''from twinkle.loss import Loss


class {cls}(Loss):
    """Cross-entropy: the sum of -log p over the trained tokens, divided by their number."""

    def __call__(self, inputs, outputs):
        """A sum and its denominator; nothing is averaged here, so that splitting a batch changes nothing."""
        trained = inputs["labels"] != -100
        return {{"loss": -outputs["logps"].masked_fill(~trained, 0.0).sum(), "num_tokens": trained.sum(), "domain": "token"}}
''',
    ),
    "reward": Scaffold(
        code='''class {cls}:
    """1.0 where the last message is the answer that the trajectory carries in its user_data, else 0.0."""

    def __call__(self, trajectories, ground_truths=None):
        """One score a trajectory, in their order."""
        return [self._score(said, right) for said, right in zip(trajectories, ground_truths or trajectories)]

    def _score(self, said, right):
        text = said["messages"][-1]["content"].strip() if said["messages"] else ""
        return float(text == dict(right["user_data"])["answer"])
''',
        imports="RewardExample, load_manifest, parametrize_with_checks",
        setup="""def right(answer):
    messages = [{{"role": "user", "content": "?"}}, {{"role": "assistant", "content": answer}}]
    return {{"messages": messages, "user_data": [("answer", answer)]}}


""",
        example='RewardExample(gold=[right("4"), right("72")], no_op="I do not know.")',
    ),
    "advantage": Scaffold(
        code='''class {cls}:
    """A_i = r_i - mean of the rewards of the same prompt."""

    def __call__(self, rewards_PG):
        """Advantages of rewards (prompts x samples), in their shape and dtype."""
        return rewards_PG - rewards_PG.mean(dim=1, keepdim=True)
''',
    ),
    "patch": Scaffold(
        code='''class {cls}:
    """Doubles what a model's forward returns. Changes things through the journal alone, so that it can be undone."""

    def apply(self, target, journal):
        """Changes the instance, not its class: other models stay as they are."""
        forward = target.forward
        journal.setattr(target, "forward", lambda *args, **kwargs: 2 * forward(*args, **kwargs))
''',
        imports="PatchExample, load_manifest, parametrize_with_checks",
        setup="""def small_model():
    import torch

    return torch.nn.Linear(2, 2)


""",
        example="PatchExample(target=small_model)",
    ),
    "preprocessor": Scaffold(
        code='''class {cls}:
    """A question and its answer as a conversation."""

    def preprocess(self, row):
        """The trajectory of one row; the row is not changed."""
        question = {{"role": "user", "content": row["question"]}}
        return {{"messages": [question, {{"role": "assistant", "content": row["answer"]}}]}}
''',
        imports="RowExample, load_manifest, parametrize_with_checks",
        example='RowExample(rows=[{{"question": q, "answer": a}} for q, a in (("1+1?", "2"), ("你是谁?", "我"), ("", ""))])',
    ),
    "filter": Scaffold(
        code='''class {cls}:
    """Keeps rows whose answer is not empty."""

    def __call__(self, row):
        """True keeps the row."""
        return bool(row["answer"].strip())
''',
        imports="RowExample, load_manifest, parametrize_with_checks",
        example='RowExample(rows=[{{"answer": a}} for a in ("2", "我", "")])',
    ),
}


def write_scaffold(folder: Path, kind: str, name: str) -> list[str]:
    """Writes a component of ``kind`` named ``name`` into the empty or new folder; returns the paths.

    Raises:
        InvalidArgument: there is no scaffold for the kind, the name is no identifier, or the folder holds files.
    """
    scaffold = SCAFFOLDS.get(kind)
    if scaffold is None:
        raise InvalidArgument(f"--kind {kind!r}: there is no scaffold for it.{did_you_mean(kind, SCAFFOLDS)}")
    if not name.isidentifier() or not name.isascii():
        raise InvalidArgument(f"--name {name!r}: expected letters, digits and '_', as in 'my_loss'")
    if folder.exists() and any(folder.iterdir()):
        raise InvalidArgument(f"{folder} is not empty: give a new folder")
    cls = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    files = {
        "twinkle-component.toml": _MANIFEST.format(project=name.replace("_", "-"), kind=kind, name=name, cls=cls),
        "impl.py": scaffold.code.format(cls=cls),
        "tests/test_conformance.py": _test(scaffold, kind, name),
        "README.md": _CARD.format(kind=kind, name=name),
        ".gitignore": "__pycache__/\n.pytest_cache/\n",
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return list(files)


_CARD = """---
library_name: twinkle
license: apache-2.0
tags:
- twinkle-component
- twinkle-{kind}
---

# {name}

A {kind} for Twinkle. `twinkle plugin test` runs its tests, `twinkle plugin publish` publishes it.
"""

_MANIFEST = """schema = 1

[project]
name = "{project}"
version = "0.1.0"
license = "Apache-2.0"
summary = "A {kind}."
requires-python = ">=3.11"

[[component]]
kind = "{kind}"
name = "{name}"
entry = "impl:{cls}"
api = 1
tests = ["tests/test_conformance.py"]
"""


def _test(scaffold: Scaffold, kind: str, name: str) -> str:
    example = scaffold.example.format()
    examples = f', examples={{"{kind}:{name}": {example}}}' if example else ""
    return (
        f"from pathlib import Path\n\nfrom twinkle.testing import {scaffold.imports}\n\n"
        'MANIFEST = Path(__file__).resolve().parents[1] / "twinkle-component.toml"\n\n\n'
        f"{scaffold.setup.format()}@parametrize_with_checks(load_manifest(MANIFEST){examples})\n"
        "def test_conformance(component, check):\n    check(component)\n"
    )
