"""Silence for what other libraries draw: a command has one progress bar."""

from __future__ import annotations


def quiet_libraries() -> None:
    """Turns off the progress bars of datasets and transformers in this process."""
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()
