"""The logger of Twinkle and of scripts that use it."""

from __future__ import annotations

import logging
import sys

from twinkle.core.settings import process_rank


class _RankFilter(logging.Filter):
    """Only rank 0 tells what all ranks know; warnings come from every rank."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or process_rank() <= 0


class _PlainHandler(logging.Handler):
    """Writes to standard error, unless the program has set up logging for itself."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            print(self.format(record), file=sys.stderr, flush=True)


def get_logger(name: str = "twinkle") -> logging.Logger:
    """The logger ``name``, which shows messages from INFO on without further setting up; under a launcher, below WARNING only rank 0's."""
    logger = logging.getLogger(name)
    if not any(isinstance(handler, _PlainHandler) for handler in logger.handlers):
        handler = _PlainHandler()
        handler.setFormatter(logging.Formatter("[%(levelname)s:%(name)s] %(message)s"))
        handler.addFilter(_RankFilter())  # for loggers below this one
        logger.addHandler(handler)
        logger.addFilter(_RankFilter())  # for handlers of the program's own
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    return logger
