"""Registers the fixtures that start real servers; everything else lives beside its tests."""

import gc
import os

import structlog

# Registries of tests begin empty; the tests of the package's supernets turn them on again.
os.environ["HEADSTART_ZOO"] = "off"
# Before torch is imported: two workers with a team of threads each wait for one another on two
# cores, and what takes a minute can take many.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# As our services write down an error. The default draws every local variable of every frame, which
# takes seconds.
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback

gc.disable()  # of what is imported and collected nothing is garbage; to look for it takes seconds

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.measuring",
    "tests.fixtures.postgres",
    "tests.fixtures.redis",
    "tests.fixtures.s3",
    "tests.fixtures.scoping",
    "tests.fixtures.databases",  # after postgres, which it imports
]


def pytest_collection_finish() -> None:
    """From now on there is garbage."""
    gc.enable()
