"""The conformance kit for authors of components: what a loss, a patch, a template ... has to keep, as tests that run over yours and ours.

>>> from twinkle.testing import load_manifest, parametrize_with_checks
>>> @parametrize_with_checks(load_manifest("twinkle-component.toml"))
... def test_conformance(component, check):
...     check(component)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import lazy_names

if TYPE_CHECKING:
    from twinkle.testing.check import Check as Check
    from twinkle.testing.check import CheckFailed as CheckFailed
    from twinkle.testing.check import NotApplicable as NotApplicable
    from twinkle.testing.checks import all_checks as all_checks
    from twinkle.testing.checks import checks_of as checks_of
    from twinkle.testing.checks.advantage import AdvantageExample as AdvantageExample
    from twinkle.testing.checks.checkpoint_engine import CheckpointEngineExample as CheckpointEngineExample
    from twinkle.testing.checks.environment import EnvironmentExample as EnvironmentExample
    from twinkle.testing.checks.hub import HubExample as HubExample
    from twinkle.testing.checks.kernel import KernelExample as KernelExample
    from twinkle.testing.checks.loss import LossExample as LossExample
    from twinkle.testing.checks.model import ModelExample as ModelExample
    from twinkle.testing.checks.patch import PatchExample as PatchExample
    from twinkle.testing.checks.reward import RewardExample as RewardExample
    from twinkle.testing.checks.sampler import SamplerExample as SamplerExample
    from twinkle.testing.checks.template import TemplateExample as TemplateExample
    from twinkle.testing.example import Example as Example
    from twinkle.testing.example import RowExample as RowExample
    from twinkle.testing.manifest import load_manifest as load_manifest
    from twinkle.testing.parametrize import parametrize_with_checks as parametrize_with_checks
    from twinkle.testing.specimen import Specimen as Specimen

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "AdvantageExample": "twinkle.testing.checks.advantage:AdvantageExample",
        "Check": "twinkle.testing.check:Check",
        "CheckFailed": "twinkle.testing.check:CheckFailed",
        "CheckpointEngineExample": "twinkle.testing.checks.checkpoint_engine:CheckpointEngineExample",
        "EnvironmentExample": "twinkle.testing.checks.environment:EnvironmentExample",
        "Example": "twinkle.testing.example:Example",
        "HubExample": "twinkle.testing.checks.hub:HubExample",
        "KernelExample": "twinkle.testing.checks.kernel:KernelExample",
        "LossExample": "twinkle.testing.checks.loss:LossExample",
        "ModelExample": "twinkle.testing.checks.model:ModelExample",
        "NotApplicable": "twinkle.testing.check:NotApplicable",
        "PatchExample": "twinkle.testing.checks.patch:PatchExample",
        "RewardExample": "twinkle.testing.checks.reward:RewardExample",
        "RowExample": "twinkle.testing.example:RowExample",
        "SamplerExample": "twinkle.testing.checks.sampler:SamplerExample",
        "Specimen": "twinkle.testing.specimen:Specimen",
        "TemplateExample": "twinkle.testing.checks.template:TemplateExample",
        "all_checks": "twinkle.testing.checks:all_checks",
        "checks_of": "twinkle.testing.checks:checks_of",
        "load_manifest": "twinkle.testing.manifest:load_manifest",
        "parametrize_with_checks": "twinkle.testing.parametrize:parametrize_with_checks",
    },
)
