"""What libraries warn of in a child: to standard error as ever, and to its supervisor."""

import logging
import warnings
from collections.abc import Callable
from typing import TextIO

from core.domain.jobs import LogLevel
from core.execution import protocol

MOST = 100  # lines of one child
LONGEST = 1_000  # characters that are passed on


def pass_on(say: Callable[[protocol.Event], None]) -> None:
    """From now on; each warning of Python once, in as many words as it has."""
    root = logging.getLogger()
    root.handlers[:] = [logging.StreamHandler(), _Teller(say)]

    def warned(
        message: Warning | str,
        category: type[Warning],
        filename: str,  # noqa: ARG001 - where things are installed is nobody's business
        lineno: int,  # noqa: ARG001
        file: TextIO | None = None,  # noqa: ARG001
        line: str | None = None,  # noqa: ARG001
    ) -> None:
        logging.getLogger("warnings").warning("%s: %s", category.__name__, message)

    warnings.showwarning = warned


class _Teller(logging.Handler):
    def __init__(self, say: Callable[[protocol.Event], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it on, without the stack that may come with it. A record that cannot be put into
        words is the other handler's to tell of: no computation ends of it."""
        try:
            message = record.getMessage()[:LONGEST]
        except Exception:  # noqa: BLE001 - whatever a library's mistake brings
            return
        if message in self._told or len(self._told) >= MOST:
            return
        self._told.add(message)
        bad = record.levelno >= logging.ERROR
        self._say(protocol.Said(LogLevel.ERROR if bad else LogLevel.WARNING, message))
