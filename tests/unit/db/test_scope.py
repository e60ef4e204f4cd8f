"""A project's session: what it sees, what it writes, and that nothing of ours goes around it."""

import ast
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import and_, case, delete, exists, func, insert, select, union_all, update
from sqlalchemy.orm import Session, aliased

from core import services
from core.db import identity_tables, upserts
from core.db.base import Base
from core.db.dataset_tables import DatasetRow, EmbeddingRow
from core.db.job_tables import IdempotencyKeyRow, JobRecordRow, JobRow
from core.db.result_tables import SupernetRow
from core.db.scope import ForeignRow, Owned, Private, Shared
from core.db.sessions import Sessions
from core.db.upload_tables import UploadPartRow, UploadRow
from core.domain.identity import DEFAULT, PUBLIC, ProjectId
from core.domain.searches import EmbedSpec
from core.domain.supernets import Supernet
from core.errors import Forbidden, NotFound
from core.services import datasets, families, jobs, searches, supernets
from tests.fixtures.scoping import unguarded
from tests.unit.services.samples import dataset, embedding, queued, sha256_of

OTHER = ProjectId(UUID(int=2**100))
# Who owns them is their own affair: keys and projects are asked for before anybody's rows are.
SYSTEM = {each.__tablename__ for each in (
    identity_tables.ProjectRow, identity_tables.ApiKeyRow, identity_tables.BrowserSessionRow,
    identity_tables.AuditRow,
)}  # fmt: skip
Row = aliased(JobRow)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def supernet(session: Session, name: str) -> Supernet:
    """One that came in a file."""
    return supernets.register(
        session, name=name, dataset_id=None, job_id=None, space={}, resolution=16, key=name,
        sha256=sha256_of(name), metrics={}, seconds=1.0, lineage={},
    )[0]  # fmt: skip


@pytest.fixture
def other(sessions: Sessions) -> Sessions:
    """The same database as another project has it."""
    return sessions.within(OTHER)


def fill(of_project: Sessions) -> UUID:
    """Two jobs, a dataset with an embedding and a supernet; the first job's id."""
    with of_project.begin() as session:
        made = dataset(session)
        datasets.record_embedding(session, embedding(made))
        first, _ = queued(session), queued(session)
        supernet(session, "net")
        return first.id


def test_every_table_is_a_projects_or_the_systems() -> None:
    owned = {
        each.class_.__tablename__: each.class_
        for each in Base.registry.mappers
        if issubclass(each.class_, Owned)
    }
    assert owned.keys().isdisjoint(SYSTEM)
    assert owned.keys() | SYSTEM == set(Base.metadata.tables)
    for name, row in owned.items():
        assert issubclass(row, Private) != issubclass(row, Shared), name
        assert not Base.metadata.tables[name].columns["project_id"].nullable
    shared = {name for name, row in owned.items() if issubclass(row, Shared)}
    assert shared == {"datasets", "embeddings", "supernets"}


def count(statement: Any) -> Callable[[Session], int]:
    return lambda session: len(session.execute(statement).all())


def number(statement: Any) -> Callable[[Session], int]:
    return lambda session: int(session.scalar(statement) or 0)


numbered = select(JobRow.id, func.row_number().over(order_by=JobRow.id).label("n")).subquery()
WAYS: dict[str, tuple[Callable[[Session], int], int]] = {
    "rows": (count(select(JobRow)), 2),
    "a column": (count(select(JobRow.state)), 2),
    "an alias": (count(select(Row.id)), 2),
    "from": (number(select(func.count()).select_from(JobRow)), 2),
    "where": (number(select(func.count()).where(JobRow.attempt == 0)), 2),
    "a function": (number(select(func.sum(case((JobRow.attempt == 0, 1), else_=1)))), 2),
    "a subquery": (count(select(numbered.c.id)), 2),
    "in": (count(select(UploadRow.id).where(exists().where(JobRow.id.is_not(None)))), 0),
    "exists": (count(select(JobRow.id).where(select(Row).where(Row.id != JobRow.id).exists())), 2),
    "a join": (count(select(JobRow, Row).join(Row, Row.id != JobRow.id)), 2),
    "a product": (count(select(JobRow.id, Row.id).where(Row.id != JobRow.id)), 2),
    "an outer join": (
        count(select(DatasetRow, SupernetRow).outerjoin(SupernetRow, SupernetRow.key == "net")),
        1,
    ),
    "a union": (count(union_all(select(JobRow.id), select(EmbeddingRow.dataset_id))), 3),
    "an update": (count(update(JobRow).values(stage="x").returning(JobRow.id)), 2),
    "a deletion": (count(delete(SupernetRow).returning(SupernetRow.id)), 1),
    "a chosen one": (
        count(
            update(JobRow)
            .where(JobRow.id == select(JobRow.id).order_by(JobRow.id).limit(1).scalar_subquery())
            .values(stage="x")
            .returning(JobRow)
        ),
        1,
    ),
}


def test_whichever_way_it_asks_it_sees_its_own(sessions: Sessions, other: Sessions) -> None:
    fill(sessions)
    fill(other)
    for way, (ask, wanted) in WAYS.items():
        for of_project in (sessions, other):
            with of_project.begin() as session, session.begin_nested() as undone:
                assert ask(session) == wanted, way
                undone.rollback()
    nobody = sessions.within(ProjectId(uuid4()))
    for way, (ask, _) in WAYS.items():
        with nobody.begin() as session:
            assert ask(session) == 0, way


def test_a_statement_that_does_not_say_its_class_is_refused(sessions: Sessions) -> None:
    waits = and_(JobRow.attempt == 0, JobRow.fence == 0)
    blurred = select(func.sum(case((waits, JobRow.attempt), else_=JobRow.fence)))
    with sessions.read() as session:
        with pytest.raises(TypeError, match="jobs"):
            session.scalar(blurred)
        assert session.scalar(blurred.select_from(JobRow)) is None


def test_anothers_is_as_if_it_were_not_there(sessions: Sessions, other: Sessions) -> None:
    job_id = fill(sessions)
    with other.begin() as session:
        for ask in (jobs.get, jobs.cancel, datasets.get, datasets.delete, searches.get):
            with pytest.raises(NotFound, match="There is no"):
                ask(session, job_id)
        assert session.get(JobRow, job_id) is None
        assert jobs.listing(session, limit=5) == ((), None)
    with sessions.begin() as session:
        assert jobs.cancel(session, job_id).finished


def test_the_same_content_is_another_dataset(sessions: Sessions, other: Sessions) -> None:
    found = []
    for of_project in (sessions, other):
        with of_project.begin() as session:
            made, first = dataset(session), datasets.find(session, sha256_of("digits"))
            assert first == made
            found.append(made)
    assert len({each.id for each in found}) == 2
    assert [each.project_id for each in found] == [DEFAULT, OTHER]
    with other.begin() as session:
        datasets.delete(session, found[1].id)
    with sessions.begin() as session:
        assert datasets.get(session, found[0].id) == found[0]
        assert families.next_version(session, found[0].id) == 2


def test_what_is_public_is_everybodys_to_read_alone(sessions: Sessions, other: Sessions) -> None:
    with sessions.within(PUBLIC).begin() as session:
        public, shared = supernet(session, "zoo"), dataset(session, "open")
        datasets.record_embedding(session, embedding(shared))
        queued(session)
    for of_project in (sessions, other):
        with of_project.begin() as session:
            assert supernets.get(session, public.id) == public
            assert supernets.register(
                session, name="mine", dataset_id=None, job_id=None, space={}, resolution=16,
                key="k", sha256=sha256_of("zoo"), metrics={}, seconds=1.0, lineage={},
            ) == (public, False)  # fmt: skip
            assert datasets.get(session, shared.id) == shared
            assert jobs.listing(session, limit=5) == ((), None)  # how it came about is not
            asked = update(SupernetRow).values(name="x").returning(SupernetRow.id)
            assert session.scalars(asked).all() == []
            assert session.scalars(delete(EmbeddingRow).returning(EmbeddingRow.key)).all() == []
        with pytest.raises(ForeignRow), of_project.begin() as session:
            session.get_one(SupernetRow, public.id).name = "x"
        with pytest.raises(ForeignRow), of_project.begin() as session:
            session.delete(session.get_one(SupernetRow, public.id))
        with pytest.raises(Forbidden, match="everybody's"), of_project.begin() as session:
            datasets.delete(session, shared.id)
        with pytest.raises(Forbidden, match="embeds"), of_project.begin() as session:
            searches.submit_embed(session, EmbedSpec(shared.id, "oriented-energy@1"))
        with of_project.begin() as session:  # of the same content, and its own
            assert dataset(session, "open").id != shared.id


def test_what_it_adds_is_its_own(sessions: Sessions, other: Sessions) -> None:
    job_id = fill(other)
    terms = {"kind": "embed", "queue": "cpu", "state": "queued", "stage": "q"}
    bare = {**terms, "max_attempts": 1, "spec": {}}
    line = {"job_id": job_id, "stage": "s", "step": 1, "fence": 1, "values": {}, "at": NOW}
    with other.begin() as session:
        session.execute(insert(JobRow).values(project_id=DEFAULT, **bare))
        session.execute(insert(JobRow), [bare, bare])
        upserts.insert_or_update(session, JobRecordRow, [line, {**line, "step": 2}])
        assert set(session.scalars(select(JobRow.project_id))) == {OTHER}
        assert session.scalar(select(func.count()).select_from(JobRecordRow)) == 2
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(JobRow)) == 0
    for wrong in (
        lambda s: s.add(UploadRow(project_id=DEFAULT, name="a", length=1, expires_at=None)),
        lambda s: s.execute(insert(JobRow), [bare, {**bare, "project_id": DEFAULT}]),
        lambda s: upserts.insert_or_keep(s, JobRecordRow, [{**line, "project_id": DEFAULT}]),
        lambda s: setattr(s.get_one(JobRow, job_id), "project_id", DEFAULT),
    ):
        with pytest.raises(ForeignRow), other.begin() as session:
            wrong(session)


def test_keys_of_two_projects_never_meet(sessions: Sessions, other: Sessions) -> None:
    for of_project in (sessions, other):
        job_id = fill(of_project)
        row = {"key": "same", "request_sha256": sha256_of("r"), "job_id": job_id}
        with of_project.begin() as session:
            upserts.insert_or_keep(session, IdempotencyKeyRow, [row])
            assert session.scalars(select(IdempotencyKeyRow.job_id)).all() == [job_id]


def test_the_system_sees_all_and_says_whose_it_adds(migrated_sqlite: Path, tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    system = Sessions(f"sqlite:///{path}")
    with pytest.raises(LookupError):
        assert system.project
    heard: list[object] = []
    own, other = system.within(DEFAULT), system.within(OTHER)
    system.follow(heard.append)
    fill(own)
    fill(other)
    assert len(heard) == 2  # views tell those who follow the whole, whenever they were made
    part = {"upload_id": uuid4(), "start": 0, "size": 1, "sha256": "", "key": "k"}
    seen = {"dataset_id": uuid4(), "embedder": "e", "key": "k"}
    with system.begin() as session:
        assert session.scalar(select(func.count()).select_from(JobRow)) == 4
        (taken,) = session.scalars(select(JobRow.project_id).distinct().where(
            JobRow.project_id == OTHER)).all()  # fmt: skip
        assert taken == OTHER
    for add in (
        lambda s: queued(s),
        lambda s: s.execute(insert(UploadPartRow).values(part)),
        lambda s: upserts.insert_or_keep(s, EmbeddingRow, [seen]),
    ):
        with pytest.raises(Exception, match="names the project"), system.begin() as session:
            add(session)
    system.dispose()


UNSEEN = {"text", "Table", "table", "literal_column", "__table__", "exec_driver_sql"}


def test_services_have_no_way_around() -> None:
    """What the listener cannot see they do not say; a bare connection is the vectors' alone."""
    folder = Path(services.__file__).parent
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        said = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
                said |= {each.name for each in node.names}
        assert UNSEEN.isdisjoint(said), path.name
        assert "connection" not in said or path.name == "prefilter.py", path.name


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("SELECT jobs.id FROM jobs WHERE jobs.project_id = ?", None),
        ("SELECT jobs.project_id FROM jobs WHERE jobs.id = ?", "jobs"),
        ("SELECT a.id FROM jobs AS a, jobs WHERE jobs.project_id = ?", "a"),
        ("SELECT 1 FROM datasets WHERE datasets.project_id IN (?, ?) AND EXISTS (SELECT 1 FROM "
         "datasets WHERE datasets.id = ?)", "datasets"),
        ("UPDATE jobs SET stage=? WHERE jobs.id = ? RETURNING id", "jobs"),
        ("INSERT INTO jobs (id, project_id) VALUES (?, ?)", None),
        ("INSERT INTO jobs (id) VALUES (?)", "jobs"),
        ("INSERT INTO jobs (id, project_id) VALUES ((SELECT 1 FROM uploads), ?)", "uploads"),
        ("SELECT projects.id FROM projects", None),
    ],
)  # fmt: skip
def test_the_watch_over_all_tests_can_fail(statement: str, table: str | None) -> None:
    assert unguarded(statement) == table
