"""What the hub loader tells the core."""

from __future__ import annotations
