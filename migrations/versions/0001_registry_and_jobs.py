"""The registry (datasets, embeddings, rankings, supernets, searches, models) and its jobs."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Spelled here, not imported: a migration must not change when the code does.
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
INSTANT = sa.String(23).with_variant(TIMESTAMP(timezone=True), "postgresql")
WORD = sa.String(16)
SHA256 = sa.String(64)


def upgrade() -> None:
    """Create the tables, parents first."""
    _datasets()
    _jobs()
    _job_history()
    _results()


def downgrade() -> None:
    """Drop them, children first."""
    for table in (
        *("models", "searches", "supernets"),
        *("checkpoints", "job_records", "job_events", "jobs"),
        *("rankings", "embeddings", "datasets"),
    ):
        op.drop_table(table)


def _column(name: str, kind: Any, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable)


def _reference(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=f"fk_{table}_{column}")


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"pk_{table}")


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _datasets() -> None:
    op.create_table(
        "datasets",
        _column("id", sa.Uuid()),
        _column("sha256", SHA256),
        _column("name", sa.Text()),
        _column("classes", DOCUMENT),
        _column("train_counts", DOCUMENT),
        _column("test_counts", DOCUMENT),
        _column("channels", sa.Integer()),
        _column("report", DOCUMENT),
        _column("created_at", INSTANT),
        _key("datasets", "id"),
        sa.UniqueConstraint("sha256", name="uq_datasets_sha256"),
        sa.CheckConstraint("channels IN (1, 3)", name=op.f("ck_datasets_channels")),
    )
    _index("datasets", "created_at", "id")
    op.create_table(
        "embeddings",
        _column("dataset_id", sa.Uuid()),
        _column("embedder", sa.Text()),
        _column("key", sa.Text()),
        _column("sha256", SHA256),
        _column("dimension", sa.Integer()),
        _column("samples", sa.Integer()),
        _column("seconds", sa.Double()),
        _column("created_at", INSTANT),
        _key("embeddings", "dataset_id", "embedder"),
        _reference("embeddings", "dataset_id", "datasets"),
    )
    op.create_table(
        "rankings",
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=True),
        _column("dataset_id", sa.Uuid()),
        _column("embedder", sa.Text()),
        _column("neighbours", DOCUMENT),
        _column("seconds", sa.Double()),
        _column("settings", DOCUMENT),
        _column("created_at", INSTANT),
        _key("rankings", "number"),
        _reference("rankings", "dataset_id", "datasets"),
    )
    _index("rankings", "dataset_id", "number")


def _jobs() -> None:
    op.create_table(
        "jobs",
        _column("id", sa.Uuid()),
        _column("kind", WORD),
        _column("queue", WORD),
        _column("priority", sa.Integer()),
        _column("state", WORD),
        _column("stage", sa.Text()),
        _column("progress", sa.Double()),
        _column("eta_seconds", sa.Double(), nullable=True),
        _column("attempt", sa.Integer()),
        _column("max_attempts", sa.Integer()),
        _column("fence", sa.BigInteger()),
        _column("cancel_requested", sa.Boolean()),
        _column("spec", DOCUMENT),
        _column("result", DOCUMENT, nullable=True),
        _column("error_code", sa.Text(), nullable=True),
        _column("error_message", sa.Text(), nullable=True),
        _column("resume_reason", sa.Text(), nullable=True),
        _column("cost_seconds", sa.Double()),
        _column("created_at", INSTANT),
        _column("not_before", INSTANT),
        _column("started_at", INSTANT, nullable=True),
        _column("finished_at", INSTANT, nullable=True),
        _column("heartbeat_at", INSTANT, nullable=True),
        _column("progress_at", INSTANT, nullable=True),
        _column("lease_owner", sa.Text(), nullable=True),
        _column("lease_until", INSTANT, nullable=True),
        _column("dataset_id", sa.Uuid(), nullable=True),
        _key("jobs", "id"),
        _reference("jobs", "dataset_id", "datasets"),
        sa.CheckConstraint("progress >= 0 AND progress <= 1", name=op.f("ck_jobs_progress")),
        sa.CheckConstraint(
            "attempt >= 0 AND attempt <= max_attempts", name=op.f("ck_jobs_attempt")
        ),
        sa.CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL)", name=op.f("ck_jobs_lease")
        ),
    )
    _index("jobs", "created_at", "id")
    _index("jobs", "dataset_id", "created_at")
    # Both stay as small as the work at hand, however many jobs have finished.
    for name, state, columns in (
        ("ix_jobs_queued", "queued", ["queue", "priority", "created_at"]),
        ("ix_jobs_running", "running", ["lease_until"]),
    ):
        where = sa.text(f"state = '{state}'")
        op.create_index(name, "jobs", columns, postgresql_where=where, sqlite_where=where)


def _job_history() -> None:
    op.create_table(
        "job_events",
        _column("job_id", sa.Uuid()),
        _column("seq", sa.Integer()),
        _column("at", INSTANT),
        _column("from_state", WORD, nullable=True),
        _column("to_state", WORD),
        _column("fence", sa.BigInteger()),
        _column("actor", sa.Text()),
        _column("reason", sa.Text()),
        _key("job_events", "job_id", "seq"),
        _reference("job_events", "job_id", "jobs"),
    )
    op.create_table(
        "job_records",
        _column("job_id", sa.Uuid()),
        _column("stage", sa.Text()),
        _column("step", sa.Integer()),
        _column("fence", sa.BigInteger()),
        _column("values", DOCUMENT),
        _column("at", INSTANT),
        _key("job_records", "job_id", "stage", "step"),
        _reference("job_records", "job_id", "jobs"),
    )
    op.create_table(
        "checkpoints",
        _column("job_id", sa.Uuid()),
        _column("fence", sa.BigInteger()),
        _column("step", sa.Integer()),
        _column("key", sa.Text()),
        _column("sha256", SHA256),
        _column("size", sa.BigInteger()),
        _column("at", INSTANT),
        _key("checkpoints", "job_id", "fence", "step"),
        _reference("checkpoints", "job_id", "jobs"),
    )


def _results() -> None:
    op.create_table(
        "supernets",
        _column("id", sa.Uuid()),
        _column("name", sa.Text()),
        _column("dataset_id", sa.Uuid()),
        _column("job_id", sa.Uuid()),
        _column("space", DOCUMENT),
        _column("resolution", sa.Integer()),
        _column("key", sa.Text()),
        _column("sha256", SHA256),
        _column("metrics", DOCUMENT),
        _column("seconds", sa.Double()),
        _column("created_at", INSTANT),
        _key("supernets", "id"),
        _reference("supernets", "dataset_id", "datasets"),
        _reference("supernets", "job_id", "jobs"),
        sa.UniqueConstraint("job_id", name="uq_supernets_job_id"),
    )
    _index("supernets", "created_at", "id")
    _index("supernets", "dataset_id")
    op.create_table(
        "searches",
        _column("id", sa.Uuid()),
        _column("dataset_id", sa.Uuid()),
        _column("job_id", sa.Uuid()),
        _column("spec", DOCUMENT),
        _column("ranking", DOCUMENT, nullable=True),
        _column("start", DOCUMENT, nullable=True),
        _column("created_at", INSTANT),
        _key("searches", "id"),
        _reference("searches", "dataset_id", "datasets"),
        _reference("searches", "job_id", "jobs"),
        sa.UniqueConstraint("job_id", name="uq_searches_job_id"),
    )
    _index("searches", "created_at", "id")
    _index("searches", "dataset_id", "created_at")
    op.create_table(
        "models",
        _column("id", sa.Uuid()),
        _column("search_id", sa.Uuid()),
        _column("dataset_id", sa.Uuid()),
        _column("genotype", DOCUMENT),
        _column("metrics", DOCUMENT),
        _column("artifacts", DOCUMENT),
        _column("manifest_key", sa.Text()),
        _column("manifest_sha256", SHA256),
        _column("created_at", INSTANT),
        _key("models", "id"),
        _reference("models", "search_id", "searches"),
        _reference("models", "dataset_id", "datasets"),
        sa.UniqueConstraint("search_id", name="uq_models_search_id"),
    )
    _index("models", "created_at", "id")
    _index("models", "dataset_id", "created_at")
