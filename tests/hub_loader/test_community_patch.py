"""A community patch of the older layout, by its id on ModelScope: approved once, then applied on every rank with no hub in reach."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from moe_ranks import OVERLAY, needs_transformers_4, two_ranks
from tiny_model import make_tokenizer
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from twinkle.core.runtime.context import ProcessContext
from twinkle.hub_loader.errors import UntrustedComponent
from twinkle.hub_loader.tree import ComponentTree
from twinkle.model import TransformersModel
from twinkle.testing.loopback_hub import LoopbackHub

from .conftest import child_environment, trust

NAME = "twinkle-kit/qwen3_moe_transformers4_patch"
FOLDER = Path(__file__).parents[1] / "data" / "qwen3_moe_transformers4_patch"
FILES = {name: (FOLDER / name).read_bytes() for name in ("__init__.py", "README.md")}

# One float32 step: sums in another order differ by some units of the last place of numbers below 1.
EQUAL = 1e-6


@pytest.fixture
def patch_id(hub: LoopbackHub) -> str:
    """The patch at its commit on the hub, unapproved."""
    return f"ms://{NAME}@{hub.repository('ms', NAME, FILES).head}"


def make_moe(folder: Path) -> Path:
    """A tiny Qwen3-MoE with its tokenizer."""
    make_tokenizer(folder)
    config = Qwen3MoeConfig(
        vocab_size=704,
        hidden_size=16,
        moe_intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
    )
    Qwen3MoeForCausalLM(config).save_pretrained(folder)
    return folder


def spaces(module: torch.nn.Module) -> list[dict[str, Any]]:
    """What every part of ``module`` and its class hold; ``__annotations__`` come to a class when somebody looks at them."""
    owners = [owner for part in module.modules() for owner in (part, type(part))]
    return [{name: value for name, value in vars(owner).items() if name != "__annotations__"} for owner in owners]


def test_transformers_5_is_told_that_nothing_is_to_be_patched(
    hub: LoopbackHub, context: ProcessContext, patch_id: str, tmp_path: Path
) -> None:
    model = TransformersModel(model_id=make_moe(tmp_path / "moe"), mixed_precision="no")
    with pytest.raises(UntrustedComponent, match=f"twinkle plugin trust {patch_id}"):
        model.apply_patch(patch_id)
    assert hub.log == []

    trust(context, patch_id)
    hub.log.clear()
    before, config = spaces(model.model), model.get_train_configs()
    with pytest.raises(RuntimeError, match=r"for transformers 4, installed is 5\..*leave this patch out, or apply the built-in"):
        model.apply_patch(patch_id)
    after = spaces(model.model)
    assert [space.keys() for space in after] == [space.keys() for space in before]
    assert all(new[name] is old[name] for new, old in zip(after, before, strict=True) for name in old)
    assert context.patches.applied == ()
    assert model.get_train_configs() == config
    assert hub.log == []
    assert not model.apply_patch("qwen3_moe_fsdp2").is_applied


@needs_transformers_4
@pytest.mark.slow
@pytest.mark.parametrize("case", ["equal", "unequal"])
def test_with_the_patch_two_ranks_equal_one_process_and_the_built_in_form(
    hub: LoopbackHub, context: ProcessContext, patch_id: str, case: str
) -> None:
    trust(context, patch_id)
    hub.log.clear()
    seen = two_ranks(case, "qwen3_moe_fsdp2", patch_id, environment=child_environment(context, hub))
    assert hub.log == [], "a rank asked the hub"
    assert seen is not None
    assert max(seen.values()) < EQUAL, seen


APPLY = """
import json, sys
import torch, transformers
import moe_fsdp2_worker as moe
from twinkle.core.errors import PatchConflict
from twinkle.core.patching import apply_patch

model, ids = moe.make_model(), torch.arange(3)[None]
block = model.model.layers[0].mlp
plain, forward = model(input_ids=ids).logits, type(block).forward


def experts_in_the_graph():
    model.zero_grad()
    model(input_ids=ids).logits.sum().backward()
    return sum(expert.up_proj.weight.grad is not None for expert in block.experts)


seen = {"transformers": transformers.__version__, "without": experts_in_the_graph()}
below = apply_patch("qwen3_moe_fsdp2", model)
own = block.forward
above = apply_patch(sys.argv[1], model)
seen |= {"with": experts_in_the_graph(), "apart": float((model(input_ids=ids).logits - plain).abs().max()), "ref": above.identity.ref}
try:
    below.revert()
except PatchConflict as error:
    seen["conflict"] = str(error)
above.revert()
seen["built-in is back"] = block.forward == own and block.forward.__func__ is own.__func__
below.revert()
seen["original is back"] = "forward" not in vars(block) and block.forward.__func__ is forward is type(block).forward
print(json.dumps(seen))
"""


@needs_transformers_4
@pytest.mark.slow
def test_approved_on_the_command_line_it_applies_in_another_process_offline_and_goes_again(
    hub: LoopbackHub, context: ProcessContext, patch_id: str
) -> None:
    h1 = ComponentTree.of({"__init__.py": FILES["__init__.py"]}).h1
    twinkle = Path(sys.executable).with_name("twinkle")
    command = [str(twinkle), "plugin", "trust", patch_id, "--sha256", h1]
    environment = child_environment(context, hub)
    trusted = subprocess.run(command, env=environment, check=False, capture_output=True, timeout=60)
    assert trusted.returncode == 0, (trusted.stdout + trusted.stderr).decode()

    hub.log.clear()
    hub.repositories.clear()
    paths = f"{OVERLAY}:{Path(__file__).parents[1] / 'plugins_builtin' / 'patch'}"
    offline = {**environment, "TWINKLE_OFFLINE": "1", "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", APPLY, patch_id], env=offline, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    assert hub.log == []
    assert seen["transformers"].startswith("4.")
    assert seen["without"] < seen["with"] == 8
    assert seen["apart"] < EQUAL
    assert f"{patch_id} patched" in seen["conflict"]
    assert seen["ref"] == patch_id
    assert seen["built-in is back"] is True
    assert seen["original is back"] is True
