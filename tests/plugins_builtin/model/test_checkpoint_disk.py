"""A full disk leaves the previous checkpoint whole and says so; old checkpoints are pruned whole or not at all."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_training import assert_same_bits, batches, make_trainee, train, weights

from twinkle.core.errors import CheckpointError, InvalidArgument
from twinkle.plugins_builtin.model.transformers._checkpoint import numbered_checkpoints, prune_checkpoints


@contextmanager
def files_up_to(num_bytes: int) -> Iterator[None]:
    """Inside the block no file grows beyond ``num_bytes``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("with_template", [True, False])
def test_a_file_that_cannot_be_written_leaves_the_checkpoint_before(folder: Path, tmp_path: Path, kind: str, with_template: bool) -> None:
    """The limit lies in turn just under the size of each file of the checkpoint, so that each of them is the one that fails."""
    model = make_trainee(folder, kind, accumulation=2)
    if with_template:
        model.set_template("Template")
    train(model, batches(3), accumulation=2)
    target = Path(model.save("last", output_dir=tmp_path, save_optimizer=True))
    before = listing(tmp_path)
    sizes = sorted({p.stat().st_size for p in target.iterdir()})
    assert len(sizes) > 6
    train(model, batches(1), accumulation=2)
    train(model, batches(1), accumulation=2)
    for size in sizes:
        with files_up_to(size - 1), pytest.raises(CheckpointError, match=r"last could not be written, .* before is whole"):
            model.save("last", output_dir=tmp_path, save_optimizer=True)
        assert listing(tmp_path) == before
        with files_up_to(size - 1), pytest.raises(CheckpointError, match="new could not be written, nothing was left behind"):
            model.save("new", output_dir=tmp_path, save_optimizer=True)
        assert listing(tmp_path) == before
    model.save("last", output_dir=tmp_path, save_optimizer=True)
    resumed = make_trainee(folder, kind, accumulation=2)
    resumed.resume_from_checkpoint(target)
    assert_same_bits(weights(resumed), weights(model))


def test_a_full_disk_leaves_the_checkpoint_before(folder: Path, tmp_path: Path) -> None:
    """A real file system that is full; training goes on, and once there is room the next save succeeds.

    It can be unmounted at the end: a resumed run keeps no file of its checkpoint mapped.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", str(disk)], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"this user may not mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        model = make_trainee(folder)
        train(model, batches(2))
        model.save("checkpoint-step-2", output_dir=disk, save_optimizer=True)
        before = listing(disk)
        filler = disk / "filler"
        filler.write_bytes(b"\0" * (640 * 1024 - sum(map(len, before.values())) - 100 * 1024))
        train(model, batches(1))
        with pytest.raises(CheckpointError, match=r"No space left on device|os error 28"):
            model.save("checkpoint-step-3", output_dir=disk, save_optimizer=True)
        filler.unlink()
        assert listing(disk) == before
        train(model, batches(1))
        model.save("checkpoint-step-4", output_dir=disk, save_optimizer=True)
        resumed = make_trainee(folder)
        resumed.resume_from_checkpoint(disk / "checkpoint-step-4")
        assert_same_bits(weights(resumed), weights(model))
        subprocess.run(["umount", str(disk)], check=True)
    finally:
        if disk.is_mount():
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_place_that_cannot_be_written_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    model = make_trainee(folder)
    with pytest.raises(CheckpointError, match="file is a file, where a folder is to be written"):
        model.save("file", output_dir=tmp_path)
    with pytest.raises(CheckpointError, match="could not be written, nothing was left behind"):
        model.save("x", output_dir=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_pruning_keeps_the_newest(folder: Path, tmp_path: Path) -> None:
    """By number, not by name: 12 is later than 9. What is no numbered checkpoint of this adapter is never touched."""
    model = make_trainee(folder)
    for name in ("best", "checkpoint-step-3", "checkpoint-step-9", "checkpoint-12", "checkpoint-step-1"):
        model.save(name, output_dir=tmp_path)
    other = make_trainee(folder, "full")
    other.save("checkpoint-step-2", output_dir=tmp_path)
    (tmp_path / "checkpoint-step-4").mkdir()  # somebody else's
    (tmp_path / "checkpoint-step-9").rename(tmp_path / ".checkpoint-step-9.replaced-1")  # killed while it was replaced
    assert [p.name for p in numbered_checkpoints(tmp_path)] == [
        "checkpoint-step-1",
        "checkpoint-step-2",
        "checkpoint-step-3",
        "checkpoint-step-9",
        "checkpoint-12",
    ]
    assert [p.name for p in prune_checkpoints(tmp_path / "checkpoint-12", "default", 4)] == []
    assert [p.name for p in prune_checkpoints(tmp_path / "checkpoint-12", "default", 2)] == ["checkpoint-step-1", "checkpoint-step-3"]
    left = {"best", "checkpoint-step-9", "checkpoint-12", "checkpoint-step-2", "checkpoint-step-4"}
    assert {p.name for p in tmp_path.iterdir()} == left
    # A run that began anew in the same folder: what it has just written stays, whatever its number.
    model.save("checkpoint-step-1", output_dir=tmp_path)
    prune_checkpoints(tmp_path / "checkpoint-step-1", "default", 1)
    assert {p.name for p in tmp_path.iterdir()} == {"best", "checkpoint-step-1", "checkpoint-step-2", "checkpoint-step-4"}
    assert numbered_checkpoints(tmp_path / "not there") == []


def test_save_keeps_as_many_as_it_is_told(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder)
    model.save("best", output_dir=tmp_path)
    for batch in batches(4):
        train(model, [batch])
        path = model.save(output_dir=tmp_path, save_total_limit=2)
    assert path == str(tmp_path / "checkpoint-step-4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "checkpoint-step-3", "checkpoint-step-4"]
    with pytest.raises(InvalidArgument, match="save_total_limit: expected a whole number of 1 or more, got 0"):
        model.save(output_dir=tmp_path, save_total_limit=0)
