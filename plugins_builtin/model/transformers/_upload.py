"""A checkpoint folder on its way to a hub, beside the training."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from twinkle.core.model_upload import upload_model


def start_upload(folder: str | Path, hub_model_id: str, hub_token: str | None, private: bool, in_background: bool) -> Future[str]:
    """:func:`upload_model` with its result, or its exception, in a future; not ``in_background`` it is raised here."""
    future: Future[str] = Future()
    upload = partial(upload_model, folder, hub_model_id, token=hub_token, private=private)
    if in_background:
        # Not a daemon: the interpreter waits for it, so that a script that ends right after does not lose its model.
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(_settle, future, upload), name=f"upload to {hub_model_id}").start()
    else:
        future.set_result(upload())
    return future


def _settle(future: Future[str], work: Callable[[], str]) -> None:
    """Gives ``future`` the result of ``work``, or its exception."""
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
        raise
