"""Migrations: there and back again, and never apart from the tables in the code."""

import hashlib
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, column, insert, inspect, table, text
from sqlalchemy.exc import DBAPIError

from core.db import identity_tables, schema, upload_tables, vectors, webhook_tables
from core.db.result_tables import Base, SupernetRow
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT, PUBLIC
from core.domain.jobs import JobKind
from core.domain.supernets import lineage
from core.errors import Unavailable
from core.services import supernets
from tests.unit.services.samples import dataset, queued, sha256_of

# As it was before projects, with whatever came later left to its default.
SUPERNETS = table(
    "supernets",
    *(column(c.name, c.type) for c in SupernetRow.__table__.columns if c.name != "project_id"),
)
IDENTITY = {"projects", "api_keys", "browser_sessions", "audit"}
for each in (upload_tables.UploadRow, identity_tables.ProjectRow, webhook_tables.WebhookRow):
    assert each.metadata is Base.metadata  # every table is known by now


def tables(url: str) -> set[str]:
    opened = Sessions(url)
    with opened.connect() as connection:
        names = set(inspect(connection).get_table_names())
    opened.dispose()
    return names - {"alembic_version", vectors.NAME}


def test_up_down_and_up_again(empty_url: str) -> None:
    assert schema.pending(empty_url)
    schema.migrate(empty_url)
    assert not schema.pending(empty_url)
    everything = tables(empty_url)
    assert everything == set(Base.metadata.tables)
    schema.migrate(empty_url)  # again does nothing
    schema.downgrade(empty_url, revision="0001")
    assert schema.pending(empty_url)
    later = IDENTITY | {"idempotency_keys", "uploads", "upload_parts"}
    later |= {"job_logs", "prunings", "webhooks", "webhook_deliveries"}
    assert tables(empty_url) == everything - later
    schema.downgrade(empty_url, revision="base")
    assert tables(empty_url) == set()
    schema.migrate(empty_url)
    assert tables(empty_url) == everything


def test_migrations_and_tables_agree(database_url: str) -> None:
    assert_agreement(database_url)


def assert_agreement(url: str) -> None:
    """The database has the tables of the code, checks included."""
    opened = Sessions(url)
    with opened.connect() as connection:
        options = {"compare_type": True, "include_name": lambda name, *_: name != vectors.NAME}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        assert _checks(connection) == {
            constraint.name
            for table in Base.metadata.tables.values()
            for constraint in table.constraints
            if isinstance(constraint, CheckConstraint)
        }
    opened.dispose()


def test_earlier_supernets_are_told_their_lineage(empty_url: str) -> None:
    schema.migrate(empty_url)
    system = Sessions(empty_url)
    opened = system.within(DEFAULT)
    with opened.begin() as session:
        source, job = dataset(session), queued(session, kind=JobKind.PRETRAIN)
    schema.downgrade(empty_url, revision="0005")
    with system.begin() as session:
        before = {"dataset_id": source.id, "job_id": job.id}
        before |= {"name": "net", "key": "k", "sha256": sha256_of("net"), "seconds": 2.5}
        before |= {"space": {"channels": 4}, "resolution": 16, "metrics": {}}
        before |= {"id": uuid4(), "created_at": datetime.now(UTC)}
        session.execute(insert(SUPERNETS).values(before))  # its lineage has no column yet
    schema.migrate(empty_url)
    with opened.begin() as session:
        ((kept,), _) = supernets.listing(session, limit=9)
        assert kept.lineage == {**lineage([source]), "training": {"seconds": 2.5}}
        imported = {"name": "file", "sha256": sha256_of("file"), "dataset_id": None}
        added = {**before, **imported, "id": uuid4(), "job_id": None, "lineage": {}}
        session.connection().execute(insert(SUPERNETS).values(added))
    schema.downgrade(empty_url, revision="0005")
    with opened.begin() as session:  # what 0005 has no words for is gone, the rest is not
        assert session.scalars(text("SELECT name FROM supernets")).all() == ["net"]
    schema.migrate(empty_url)
    with opened.read() as session:
        assert supernets.listing(session, limit=9) == ((kept,), None)
    opened.dispose()


def test_the_packages_supernets_become_everybodys(empty_url: str) -> None:
    with (resources.files("core.zoo") / "glyphs-and-more.safetensors").open("rb") as file:
        shipped = hashlib.file_digest(file, "sha256").hexdigest()
    schema.migrate(empty_url)
    opened = Sessions(empty_url)
    schema.downgrade(empty_url, revision="0009")
    bare = {"resolution": 16, "space": {}, "metrics": {}, "lineage": {}, "seconds": 1.0}
    for name, sha256 in (("zoo", shipped), ("own", sha256_of("own"))):
        told = {"name": name, "sha256": sha256, "key": "k", "id": uuid4()}
        moment = {"created_at": datetime.now(UTC)}
        with opened.begin() as session:
            session.execute(insert(SUPERNETS).values(**bare, **told, **moment))
    for _ in range(2):
        schema.migrate(empty_url)
        for project, names in ((PUBLIC, {"zoo"}), (DEFAULT, {"zoo", "own"})):
            with opened.within(project).read() as session:
                found, _ = supernets.listing(session, limit=9)
                assert {each.name for each in found} == names
        schema.downgrade(empty_url, revision="0009")
    opened.dispose()


def _checks(connection: Connection) -> set[str | None]:
    found = inspect(connection)
    return {c["name"] for name in Base.metadata.tables for c in found.get_check_constraints(name)}


def test_the_folder_of_the_database_is_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / '50%' / 'headstart.db'}"
    schema.migrate(url)
    assert not schema.pending(url)


def test_a_failed_migration_leaves_nothing(empty_url: str) -> None:
    opened = Sessions(empty_url)
    with opened.connect() as connection:
        # In the way of the very last table that the first migration makes.
        connection.exec_driver_sql("CREATE TABLE models (id INTEGER)")
    opened.dispose()
    with pytest.raises((DBAPIError, Unavailable)) as caught:  # what the drivers raise differs
        schema.migrate(empty_url)
    assert "models" in str(caught.value.__cause__)
    assert tables(empty_url) == {"models"}
