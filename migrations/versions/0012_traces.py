"""The trace that a job belongs to, as its request's traceparent."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it: jobs from before have none."""
    op.add_column("jobs", sa.Column("trace", sa.String(55), nullable=True))


def downgrade() -> None:
    """Drop it: attempts to come begin traces of their own."""
    op.drop_column("jobs", "trace")
