"""Registers the fixtures that start real servers; everything else lives beside its tests."""

import os

# Registries of tests begin empty; the tests of the package's supernets turn them on again.
os.environ["HEADSTART_ZOO"] = "off"
# Before torch is imported: two workers with a team of threads each wait for one another on two
# cores, and what takes a minute can take many.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.postgres",
    "tests.fixtures.redis",
    "tests.fixtures.s3",
    "tests.fixtures.databases",  # after postgres, which it imports
]
