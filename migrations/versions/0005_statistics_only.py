"""Datasets that are registered by their class statistics, without images."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; every dataset so far has its images."""
    op.add_column(
        "datasets",
        sa.Column("statistics_only", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    """Drop it: in place, because other tables point at this one."""
    op.drop_column("datasets", "statistics_only")
