"""Prunings of known networks: which channels a dataset needs, and what was trained of them."""

import logging

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from core.errors import Conflict

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

log = logging.getLogger("migrations")

INSTANT = sa.String(23).with_variant(TIMESTAMP(timezone=True), "postgresql")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "prunings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("spec", DOCUMENT, nullable=False),
        sa.Column("mask", DOCUMENT, nullable=True),
        sa.Column("metrics", DOCUMENT, nullable=True),
        sa.Column("artifacts", DOCUMENT, nullable=False),
        sa.Column("manifest_key", sa.Text(), nullable=True),
        sa.Column("manifest_sha256", sa.String(64), nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prunings"),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_prunings_dataset_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_prunings_job_id"),
        sa.UniqueConstraint("job_id", name="uq_prunings_job_id"),
    )
    by_project = ["project_id", "created_at", "id"]
    op.create_index("ix_prunings_project_id_created_at_id", "prunings", by_project)
    by_dataset = ["dataset_id", "created_at"]
    op.create_index("ix_prunings_dataset_id_created_at", "prunings", by_dataset)


def downgrade() -> None:
    """Drop it: the older code prunes nothing.

    Raises Conflict when there are such jobs: the older code cannot read their kind, and a finished
    job cannot be changed.
    """
    ask = op.get_bind().scalar
    if count := ask(sa.text("SELECT count(*) FROM jobs WHERE kind = 'prune'")):
        raise Conflict(
            f"Revision 0015 has no words for jobs that prune networks, and there are {count}: "
            "stay at 0016, or restore a backup from before it.",
            code="prune_jobs",
        )
    if rows := ask(sa.text("SELECT count(*) FROM prunings")):
        log.warning("%d prunings are dropped", rows)
    op.drop_table("prunings")
