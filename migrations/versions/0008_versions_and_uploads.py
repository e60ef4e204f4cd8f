"""Datasets in versions, with their licence and a tombstone; and uploads that come in pieces."""

import logging

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

from core.errors import Conflict

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

log = logging.getLogger("migrations")

INSTANT = sa.String(23).with_variant(TIMESTAMP(timezone=True), "postgresql")
# What the columns say of some datasets, and the older shape has no room for.
SAID = "licence IS NOT NULL OR source IS NOT NULL OR parent_id IS NOT NULL"


def upgrade() -> None:
    """Add them; every dataset so far is the first and only version of itself.

    In place: other tables point at this one.
    """
    _add(sa.Column("licence", sa.Text(), nullable=True))
    _add(sa.Column("source", sa.Text(), nullable=True))
    parent = sa.ForeignKey("datasets.id", name="fk_datasets_parent_id")
    column = sa.Column("parent_id", sa.Uuid(), parent, nullable=True)
    op.add_column("datasets", column, inline_references=True)
    op.create_index("ix_datasets_parent_id", "datasets", ["parent_id"])
    _add(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    _add(sa.Column("originals_sha256", sa.String(64), nullable=True))
    _add(sa.Column("size_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    _add(sa.Column("deleted_at", INSTANT, nullable=True))
    _create_uploads()


def downgrade() -> None:
    """Drop them: uploads must be begun anew, and what lies in the store of them stays there.

    Raises Conflict where datasets were deleted, whose images the older code would look for, and
    where there are intake jobs: it cannot read their kind, and an ended job cannot be changed.
    """
    ask = op.get_bind().scalar
    if count := ask(sa.text("SELECT count(*) FROM datasets WHERE deleted_at IS NOT NULL")):
        raise Conflict(
            f"Revision 0007 has no words for deleted datasets, and there are {count}: "
            "stay at 0008, or restore a backup from before it.",
            code="deleted_datasets",
        )
    if count := ask(sa.text("SELECT count(*) FROM jobs WHERE kind = 'ingest'")):
        raise Conflict(
            f"Revision 0007 has no words for jobs that take datasets in, and there are {count}: "
            "stay at 0008, or restore a backup from before it.",
            code="ingest_jobs",
        )
    if said := ask(sa.text(f"SELECT count(*) FROM datasets WHERE {SAID}")):
        log.warning("the licence, the source and the parent of %d datasets are dropped", said)
    if uploads := ask(sa.text("SELECT count(*) FROM uploads")):
        log.warning("%d uploads in pieces are dropped: begin them anew", uploads)
    op.drop_table("upload_parts")
    op.drop_table("uploads")
    op.drop_index("ix_datasets_parent_id", "datasets")
    for name in ("deleted_at", "size_bytes", "originals_sha256", "version", "parent_id"):
        op.drop_column("datasets", name)
    op.drop_column("datasets", "source")
    op.drop_column("datasets", "licence")


def _add(column: sa.Column[object]) -> None:
    op.add_column("datasets", column)


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("busy_token", sa.String(32), nullable=True),
        sa.Column("busy_until", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.CheckConstraint("received >= 0 AND received <= length", name="received"),
    )
    op.create_index("ix_uploads_state_expires_at", "uploads", ["state", "expires_at"])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "start", name="pk_upload_parts"),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name="fk_upload_parts_upload_id"),
    )
