"""Registers the fixtures that start real servers; everything else lives beside its tests."""

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.postgres",
    "tests.fixtures.redis",
    "tests.fixtures.s3",
    "tests.fixtures.databases",  # after postgres, which it imports
]
