"""Centres as vectors, where the pgvector extension can be had; nothing anywhere else."""

from alembic import op

from core.db import vectors

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make and fill the table if that is possible; `core.db.schema.migrate` tries again later."""
    vectors.ensure(op.get_bind())


def downgrade() -> None:
    """Drop the table. The extension stays: others may use it."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(vectors.DROP)
