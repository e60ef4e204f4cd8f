"""Databases of both kinds for every test here."""

from tests.fixtures.databases import (
    database_url,
    empty_url,
    migrated_postgres,
    migrated_sqlite,
    sessions,
)

__all__ = ["database_url", "empty_url", "migrated_postgres", "migrated_sqlite", "sessions"]
