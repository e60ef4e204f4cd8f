"""What goes into a job's log: lines for people, without secrets; what a child's libraries say."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.config import S3Storage, Settings
from core.domain.jobs import LogLevel, LogLine
from core.execution import child_log, job_log, protocol
from core.execution.job_log import JobLog


def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        database_url="postgresql://headstart:canary-1@db/headstart",
        redis_url="redis://:canary-2@redis/0",
        storage=S3Storage(
            bucket="b", access_key=SecretStr("canary-3"), secret_key=SecretStr("canary-3-4")
        ),
    )


@pytest.fixture
def lines() -> list[LogLine]:
    return []


def test_no_secret_that_the_worker_knows_is_in_a_line(
    tmp_path: Path, lines: list[LogLine]
) -> None:
    log = JobLog(3, settings(tmp_path), lines)
    log.say("canary-1 at canary-2, and canary-3-4 by canary-3")
    (line,) = lines
    assert line.message == "*** at ***, and *** by ***"
    assert (line.fence, line.number, line.level) == (3, 1, LogLevel.INFO)


def test_a_line_is_one_line_and_has_an_end(tmp_path: Path, lines: list[LogLine]) -> None:
    log = JobLog(1, settings(tmp_path), lines)
    log.say("two\nlines\t and\r\na half")
    log.say("x" * 9_000, LogLevel.ERROR)
    log.say("x" * 9_000, LogLevel.ERROR)  # again, which says nothing
    log.say(" \n ")
    log.say("\x1b]0;it\x07 \u202eis\x00 text")  # to terminals, too
    assert [each.message for each in lines] == [
        "two lines and a half",
        "x" * 499 + "…",
        "\ufffd]0;it\ufffd \ufffdis\ufffd text",
    ]


def test_lines_that_wait_are_bounded(
    tmp_path: Path, lines: list[LogLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_log, "LINES", 3)
    log = JobLog(1, settings(tmp_path), lines)
    for number in range(10):
        log.say(f"line {number}")
    assert [(each.number, each.message) for each in lines] == [
        (8, "line 7"),
        (9, "line 8"),
        (10, "line 9"),
    ]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[protocol.Event]]:
    monkeypatch.setattr(child_log, "MOST", 3)
    root, said = logging.getLogger(), list[protocol.Event]()
    before, shows = root.handlers[:], warnings.showwarning
    child_log.pass_on(said.append)
    yield said
    root.handlers[:], warnings.showwarning = before, shows


def test_what_libraries_warn_of_is_passed_on_once(heard: list[protocol.Event]) -> None:
    log = logging.getLogger("library")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        child_log.pass_on(heard.append)
        for _ in range(2):
            warnings.warn("slow on this machine", RuntimeWarning, stacklevel=1)
    log.info("of no interest")
    try:
        raise ValueError("secret")
    except ValueError:
        log.exception("it broke at %s", 7)
    for number in range(5):
        log.warning("many %d", number)
    assert heard == [
        protocol.Said(LogLevel.WARNING, "RuntimeWarning: slow on this machine"),
        protocol.Said(LogLevel.ERROR, "it broke at 7"),
        protocol.Said(LogLevel.WARNING, "many 0"),
    ]


def test_what_cannot_be_said_breaks_nothing(heard: list[protocol.Event]) -> None:
    child_log.pass_on(heard.append)  # to these alone
    log = logging.getLogger("library")
    log.warning("%d of %s", "three")  # a mistake of the library's
    log.warning("kept")
    assert heard == [protocol.Said(LogLevel.WARNING, "kept")]
