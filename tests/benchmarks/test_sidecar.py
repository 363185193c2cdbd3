"""Side-cars of a few lines: answers, times, and what is said when one dies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.sidecar import SideCar, SideCarError, peer_folder

SCRIPT = """
import gc, os, sys, time
from benchmarks.peers.loop import serve

frozen = []

def step():
    frozen.append(gc.get_freeze_count() > 0)
    time.sleep(0.01)

def seen():
    answer = frozen[:]
    frozen.clear()
    return answer

def setup(size):
    print("the peer prints this", flush=True)
    os.system("echo and so does its child")
    import peer_package
    return {"size": size, "peer": peer_package.NAME, "path": sys.path[0]}

def fail():
    raise ValueError("no such optimizer")

def write():
    open("lock", "w").close()
    return os.getcwd()

def die():
    sys.stderr.write("out of memory, sorry")
    sys.stderr.flush()
    os._exit(9)

serve({
    "setup": setup, "step": step, "seen": seen, "fail": fail, "write": write, "die": die, "hang": lambda: time.sleep(60),
    "doubled": lambda value: value * 2,
})
"""


@contextmanager
def script(folder: Path, *, timeout_s: float = 30.0) -> Iterator[SideCar]:
    """The side-car of :data:`SCRIPT` with a package of a peer."""
    packages = folder / "packages"
    packages.mkdir()
    (packages / "peer_package.py").write_text("NAME = 'peer'\n")
    (folder / "script.py").write_text(SCRIPT)
    with SideCar("script", packages, scripts=folder, timeout_s=timeout_s) as car:
        yield car


def test_a_side_car_answers_and_times_its_steps_whatever_the_peer_prints(tmp_path: Path) -> None:
    with script(tmp_path) as car:
        assert car.setup(size=3) == {"size": 3, "peer": "peer", "path": str(tmp_path / "packages")}
        assert all(0.01 <= car.step() < 5 for _ in range(4))
        assert car.call("doubled", value="text") == "texttext"
        assert 0 <= car.call("peak_extra_rss") < 50 << 20


def test_a_side_car_freezes_its_garbage_after_the_warm_ups_of_each_case(tmp_path: Path) -> None:
    with script(tmp_path) as car:
        for _ in range(2):
            car.setup(size=3)
            for _ in range(4):
                car.step()
            assert car.call("seen") == [False, False, True, True]


def test_a_side_car_writes_into_a_folder_of_its_own_that_goes_with_it(tmp_path: Path) -> None:
    with script(tmp_path) as car:
        folder = Path(car.call("write"))
        assert (folder / "lock").is_file() and folder not in (Path.cwd(), tmp_path)
    assert not folder.exists()


def test_an_error_in_a_handler_is_told_and_the_side_car_lives(tmp_path: Path) -> None:
    with script(tmp_path) as car:
        with pytest.raises(SideCarError, match=r"side-car script: fail failed:(?s:.*)ValueError: no such optimizer"):
            car.call("fail")
        assert car.call("doubled", value=2) == 4


def test_a_side_car_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    with script(tmp_path) as car:
        with pytest.raises(SideCarError, match=r"script died in die with 9(?s:.*)out of memory, sorry"):
            car.call("die")
        with pytest.raises(SideCarError, match="script died in step with 9"):
            car.step()


def test_a_side_car_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with script(tmp_path, timeout_s=0.2) as car, pytest.raises(SideCarError, match=r"hang took more than 0.2 s"):
        car.call("hang")


def test_a_script_that_is_not_there_is_told(tmp_path: Path) -> None:
    with SideCar("absent", scripts=tmp_path) as car, pytest.raises(SideCarError, match=r"(?s)died in step with 2.*absent.py"):
        car.step()


def test_the_folder_of_a_peer_is_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert peer_folder("trl") is None
    (tmp_path / "peers" / "trl").mkdir(parents=True)
    assert peer_folder("trl") == tmp_path / "peers" / "trl"
