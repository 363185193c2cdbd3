"""The parent of every component that came from a hub or a folder: ``twinkle_components.c_<digest>``.

It holds nothing. Importing it, as unpickling in a fresh process does, makes sure that this process can find approved components.
"""

from __future__ import annotations

from twinkle.hub_loader.loader import component_finder
from twinkle.hub_loader.stored_component import approved_package

__path__: list[str] = []

component_finder().approved_package = approved_package
