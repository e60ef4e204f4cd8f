"""Registers the fixtures that start real servers; everything else lives beside its tests."""

import os

# Registries of tests begin empty; the tests of the package's supernets turn them on again.
os.environ["HEADSTART_ZOO"] = "off"

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.postgres",
    "tests.fixtures.redis",
    "tests.fixtures.s3",
    "tests.fixtures.databases",  # after postgres, which it imports
]
