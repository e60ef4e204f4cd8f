"""Jobs that are the parts of another one, and the keys under which clients asked for jobs."""

import logging

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

from core.errors import Conflict

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

log = logging.getLogger("migrations")

INSTANT = sa.String(23).with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Add them; no job so far is part of another.

    In place: on SQLite a table made anew would lose the triggers that keep its history.
    """
    parent = sa.ForeignKey("jobs.id", name="fk_jobs_parent_id")
    column = sa.Column("parent_id", sa.Uuid(), parent, nullable=True)
    op.add_column("jobs", column, inline_references=True)
    op.create_index("ix_jobs_parent_id", "jobs", ["parent_id"])
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_idempotency_keys_job_id"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    """Drop them: jobs no longer know whose parts they are, and keys are forgotten.

    Raises Conflict when there are jobs made of parts: the older code cannot read their kind, and
    a finished job cannot be changed.
    """
    ask = op.get_bind().scalar
    if count := ask(sa.text("SELECT count(*) FROM jobs WHERE kind = 'group'")):
        raise Conflict(
            f"Revision 0006 has no words for jobs that are made of others, and there are {count}: "
            "stay at 0007, or restore a backup from before it.",
            code="group_jobs",
        )
    if parts := ask(sa.text("SELECT count(*) FROM jobs WHERE parent_id IS NOT NULL")):
        log.warning("the parents of %d jobs are dropped", parts)
    if keys := ask(sa.text("SELECT count(*) FROM idempotency_keys")):
        log.warning("%d idempotency keys are dropped: a late retry makes a second job", keys)
    op.drop_table("idempotency_keys")
    op.drop_index("ix_jobs_parent_id", "jobs")
    op.drop_column("jobs", "parent_id")
