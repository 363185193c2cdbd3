"""Twinkle: a workbench of named parts for training large language models.

Importing this package loads no torch and no plugin; each name below is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import lazy_names
from twinkle.version import __version__ as __version__

if TYPE_CHECKING:
    from twinkle import version as version
    from twinkle.core.components import build as build
    from twinkle.core.components import resolve as resolve
    from twinkle.core.device import CPU as CPU
    from twinkle.core.device import GPU as GPU
    from twinkle.core.device import MPS as MPS
    from twinkle.core.device import NPU as NPU
    from twinkle.core.device import Platform as Platform
    from twinkle.core.hookspecs import hookimpl as hookimpl
    from twinkle.core.kernelizing import kernelize as kernelize
    from twinkle.core.logger import get_logger as get_logger
    from twinkle.core.mesh import DeviceGroup as DeviceGroup
    from twinkle.core.mesh import DeviceMesh as DeviceMesh
    from twinkle.core.patching import patched as patched
    from twinkle.core.process import find_free_port as find_free_port
    from twinkle.core.process import find_node_ip as find_node_ip
    from twinkle.core.process import is_master as is_master
    from twinkle.core.requirement import exists as exists
    from twinkle.core.requirement import requires as requires
    from twinkle.core.runtime.initialize import initialize as initialize
    from twinkle.core.runtime.placement_diagram import get_device_placement as get_device_placement
    from twinkle.core.runtime.remote import remote_class as remote_class
    from twinkle.core.runtime.remote import remote_function as remote_function
    from twinkle.core.runtime.run import run as run
    from twinkle.hub_loader.former_name import Plugin as Plugin
    from twinkle.hub_loader.former_name import check_unsafe as check_unsafe
    from twinkle.hub_loader.former_name import trust_remote_code as trust_remote_code
    from twinkle.hub_loader.load_component import load_component as load_component

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "CPU": "twinkle.core.device:CPU",
        "DeviceGroup": "twinkle.core.mesh:DeviceGroup",
        "DeviceMesh": "twinkle.core.mesh:DeviceMesh",
        "GPU": "twinkle.core.device:GPU",
        "MPS": "twinkle.core.device:MPS",
        "NPU": "twinkle.core.device:NPU",
        "Platform": "twinkle.core.device:Platform",
        "Plugin": "twinkle.hub_loader.former_name:Plugin",
        "build": "twinkle.core.components:build",
        "check_unsafe": "twinkle.hub_loader.former_name:check_unsafe",
        "exists": "twinkle.core.requirement:exists",
        "find_free_port": "twinkle.core.process:find_free_port",
        "find_node_ip": "twinkle.core.process:find_node_ip",
        "get_device_placement": "twinkle.core.runtime.placement_diagram:get_device_placement",
        "get_logger": "twinkle.core.logger:get_logger",
        "hookimpl": "twinkle.core.hookspecs:hookimpl",
        "initialize": "twinkle.core.runtime.initialize:initialize",
        "is_master": "twinkle.core.process:is_master",
        "kernelize": "twinkle.core.kernelizing:kernelize",
        "load_component": "twinkle.hub_loader.load_component:load_component",
        "patched": "twinkle.core.patching:patched",
        "remote_class": "twinkle.core.runtime.remote:remote_class",
        "remote_function": "twinkle.core.runtime.remote:remote_function",
        "requires": "twinkle.core.requirement:requires",
        "resolve": "twinkle.core.components:resolve",
        "run": "twinkle.core.runtime.run:run",
        "trust_remote_code": "twinkle.hub_loader.former_name:trust_remote_code",
        "version": "twinkle.version",
    },
)
