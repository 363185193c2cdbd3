"""A hub on loopback that answers as ModelScope and as Hugging Face do, so that the real SDKs download from it and upload to it."""

from __future__ import annotations

from twinkle.testing.loopback_hub.fault import Fault
from twinkle.testing.loopback_hub.left_connection import left_connections_closed
from twinkle.testing.loopback_hub.repository import Repository
from twinkle.testing.loopback_hub.server import LoopbackHub
from twinkle.testing.loopback_hub.state import Request

__all__ = ["Fault", "LoopbackHub", "Repository", "Request", "left_connections_closed"]
