"""From nothing to a training run that uses one's own loss by its id: real SDKs, both hubs, a second clean home."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_training import batches, make_tiny, make_trainee, train

from twinkle.core.runtime.context import ProcessContext, use_context
from twinkle.hub_loader.pack import pack
from twinkle.hub_loader.publish import publish
from twinkle.testing.loopback_hub import LoopbackHub

from .conftest import LoopbackPlugin, hub_ref, manifest, trust

HALF = """
from twinkle.loss import Loss


class HalfLoss(Loss):
    def __call__(self, inputs, outputs):
        trained = inputs["labels"] != -100
        return {"loss": -0.5 * outputs["logps"].masked_fill(~trained, 0.0).sum(), "num_tokens": trained.sum(), "domain": "token"}
"""


@pytest.mark.slow
def test_a_loss_published_on_both_hubs_trains_by_its_pinned_id(hub: LoopbackHub, context: ProcessContext, tmp_path: Path) -> None:
    folder = tmp_path / "my-loss"
    folder.mkdir()
    (folder / "impl.py").write_text(HALF)
    (folder / "twinkle-component.toml").write_text(manifest("loss half impl:HalfLoss"))
    plugin = LoopbackPlugin(context, hub.endpoint)
    published = []
    for scheme in ("ms", "hf"):
        service = plugin.twinkle_hub(scheme)
        published.append(publish(pack(folder), service, hub_ref(f"{scheme}://me/my-loss"), private=True))  # type: ignore[arg-type]
    assert len({item.h1 for item in published}) == 1

    model_folder = make_tiny(tmp_path / "model")
    with use_context(ProcessContext.fresh(replace(context.settings, home=tmp_path / "second_home"))) as second:
        second.registry.register(LoopbackPlugin(second, hub.endpoint), "loopback")
        plain = train(make_trainee(model_folder), batches(2))
        for item in published:
            trust(second, item.ref, lock=True)
            trainee = make_trainee(model_folder)
            trainee.set_loss(f"{item.ref}#half")
            halves = train(trainee, batches(2))
            assert float(halves[0]) == pytest.approx(0.5 * float(plain[0]), rel=1e-6)
            assert item.h1 in str(trainee.get_train_configs())
            assert item.ref.partition("@")[2] in str(trainee.get_train_configs())
