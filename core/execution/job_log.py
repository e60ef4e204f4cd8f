"""What an attempt says of itself for people, until its lease writes it down.

Bounded, on one printable line each, and without the secrets that the worker knows: whoever may see
the job may read it.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from core.config import Settings
from core.domain.jobs import LogLevel, LogLine
from core.services.job_logs import LINES

LONGEST = 500  # characters of a line
SHORTEST = 4  # characters of a secret that is looked for
HIDDEN = "***"
UNSHOWN = "\N{REPLACEMENT CHARACTER}"


class JobLog:
    """Adds the lines of one attempt to those that are yet to be written."""

    def __init__(self, fence: int, settings: Settings, lines: list[LogLine]) -> None:
        self._fence = fence
        self._lines = lines
        self._secrets = sorted(set(_secrets(settings)), key=len, reverse=True)
        self._number = 0
        self._last = ""

    def say(self, message: str, level: LogLevel = LogLevel.INFO) -> None:
        """Add a line; what was said just before is not said again."""
        line = " ".join(message.split())
        # It is shown in terminals, too, which obey what is not printable.
        clean = "".join(each if each.isprintable() else UNSHOWN for each in line)
        for secret in self._secrets:
            clean = clean.replace(secret, HIDDEN)
        clean = clean if len(clean) <= LONGEST else clean[: LONGEST - 1] + "…"
        if not clean or clean == self._last:
            return
        self._number, self._last = self._number + 1, clean
        self._lines.append(LogLine(self._fence, self._number, datetime.now(UTC), level, clean))
        del self._lines[:-LINES]


def _secrets(settings: Settings) -> Iterator[str]:
    for found in _leaves(settings.model_dump()):
        if isinstance(found, SecretStr):
            yield from _long(found.get_secret_value())
    for address in (settings.database_url, settings.redis_url):
        try:
            password = make_url(address).password if address else None
        except ArgumentError:
            continue
        yield from _long(str(password or ""))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _long(secret: str) -> Iterator[str]:
    if len(secret) >= SHORTEST:
        yield secret
