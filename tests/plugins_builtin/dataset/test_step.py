"""What is kept between runs, and what several ranks do at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from word_template import WordTemplate, conversation

from twinkle.dataset import Dataset
from twinkle.preprocessor import SelfCognitionProcessor


class Told(WordTemplate):
    """A template that says what its results depend on, and writes down what it encodes."""

    def __init__(self, log: Path, version: str = "1") -> None:
        super().__init__()
        self.log, self.version = log, version

    def fingerprint(self) -> str:
        return self.version

    def batch_encode(self, trajectories: Any, add_generation_prompt: bool = False) -> list[Any]:
        with self.log.open("a") as log:
            log.write("".join("row\n" for _ in trajectories))
        return super().batch_encode(trajectories, add_generation_prompt)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(conversation(f"row {n}")) + "\n" for n in range(50)))
    return path


def encode(rows: Path, template: Any, **options: Any) -> list[Any]:
    dataset = Dataset(str(rows))
    dataset.set_template(template)
    dataset.encode(**options)
    return list(dataset)


def num_encoded(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_a_template_that_says_what_it_depends_on_encodes_once(rows: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = encode(rows, Told(log))
    assert encode(rows, Told(log)) == first
    assert num_encoded(log) == 50
    encode(rows, Told(log, version="2"))
    assert num_encoded(log) == 100
    assert encode(rows, Told(log), add_generation_prompt=True) != first
    assert num_encoded(log) == 150
    encode(rows, Told(log), load_from_cache_file=False)
    assert num_encoded(log) == 200
    rows.write_text(json.dumps(conversation("new")))
    assert [row["input_ids"] for row in encode(rows, Told(log))] == [[3]]


def test_a_template_that_does_not_say_encodes_each_time(rows: Path) -> None:
    template = WordTemplate()
    encode(rows, template)
    encode(rows, template)
    assert len(template.encoded) == 100


def test_what_a_built_in_preprocessor_depends_on_are_its_class_and_arguments() -> None:
    one = SelfCognitionProcessor("a", "b")
    assert one.fingerprint() == SelfCognitionProcessor("a", "b").fingerprint()
    assert len({one.fingerprint(), SelfCognitionProcessor("a", "c").fingerprint(), SelfCognitionProcessor("b", "a").fingerprint()}) == 3


def test_a_kept_map_is_that_of_the_same_arguments(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"query": "q", "response": "{{NAME}}"}))
    for name in ("one", "two", "one"):
        dataset = Dataset(str(path))
        dataset.map(SelfCognitionProcessor(name, "us"))
        assert dataset[0]["messages"][2]["content"] == name


class Outside(SelfCognitionProcessor):
    """A subclass whose code may reach further than ours can see."""


def test_a_subclass_of_another_package_says_nothing() -> None:
    assert Outside("a", "b").fingerprint() is None


RANK = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_step

class Slow(test_step.Told):
    def batch_encode(self, *rows, **named):
        time.sleep(3)  # the others come while this one encodes
        return super().batch_encode(*rows, **named)

print([row["input_ids"] for row in test_step.encode(Path(sys.argv[2]), Slow(Path(sys.argv[3])))])
"""


@pytest.mark.slow
def test_ranks_that_encode_at_once_encode_once(rows: Path, tmp_path: Path) -> None:
    here, log = Path(__file__).parent, tmp_path / "log"
    environment = {**os.environ, "TWINKLE_HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join([str(here.parents[1]), *sys.path])}
    command = [sys.executable, "-c", RANK, str(here), str(rows), str(log)]
    ranks = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0, 0]
    assert found[0] == found[1] == found[2]
    assert found[0].count("[3, ") == 50
    assert num_encoded(log) == 50
