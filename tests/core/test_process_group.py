"""Process groups of a mesh, over two real gloo processes."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twinkle.core.errors import InvalidConfig
from twinkle.core.mesh import DeviceMesh

PROGRAM = """
import json, sys
import numpy as np
import torch
import torch.distributed as dist
from twinkle.core.errors import InvalidConfig
from twinkle.core.mesh import DeviceMesh

store, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)

def total(group):
    number = torch.tensor(10.0 ** rank)
    dist.all_reduce(number, group=group)
    return number.item()

mesh = DeviceMesh.from_sizes(dp_size=2, tp_size=1)
result = {
    "dp": total(mesh.create_process_group("dp")),
    "tp": total(mesh.create_process_group("tp")),
    "both": total(mesh.get_dim_group(("dp", "tp"))),
    "kept": mesh.get_dim_group("dp") is mesh.get_dim_group("dp"),
    "made anew": mesh.create_process_group("dp") is not mesh.get_dim_group("dp"),
    "torch": [list(mesh.to_torch_device_mesh().mesh_dim_names), mesh.to_torch_device_mesh().get_local_rank("dp")],
    "torch kept": mesh.to_torch_device_mesh() is mesh.to_torch_device_mesh(),
}
try:
    result["half"] = total(DeviceMesh(np.array([0]), ("dp",)).create_process_group("dp"))
except InvalidConfig as error:
    result["half"] = str(error)
dist.barrier()
dist.destroy_process_group()
print(json.dumps(result))
"""


@pytest.mark.slow
def test_groups_join_the_peers_along_their_dims(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    processes = [
        subprocess.Popen(
            [sys.executable, str(program), str(tmp_path / "store"), str(rank)],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "TWINKLE_DEVICE": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (json.loads(output) for output, _ in outputs)
    for rank, result in enumerate((first, second)):
        assert (result["dp"], result["tp"], result["both"]) == (11.0, 10.0**rank, 11.0)
        assert result["kept"] and result["made anew"] and result["torch kept"]
        assert result["torch"] == [["dp", "tp"], rank]
    assert first["half"] == 1.0
    assert "holds the ranks 0, and rank 1 is not one of them" in second["half"]


def test_a_group_without_torch_distributed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    mesh = DeviceMesh.from_sizes(dp_size=2)
    with pytest.raises(InvalidConfig, match="process group along dp needs torch"):
        mesh.create_process_group("dp")
    with pytest.raises(InvalidConfig, match="has no dim 'tp'"):
        mesh.get_dim_group("tp")


def test_process_groups_are_left_behind_by_pickle() -> None:
    mesh = DeviceMesh(np.arange(2), ("dp",))
    mesh._torch_objects["key"] = lambda: "cannot be pickled"
    assert pickle.loads(pickle.dumps(mesh))._torch_objects == {}
