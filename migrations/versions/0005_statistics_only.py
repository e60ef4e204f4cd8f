"""Datasets that are registered by their class statistics, without images."""

import sqlalchemy as sa
from alembic import op

from core.errors import Conflict

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
    """Drop it: in place, because other tables point at this one.

    Raises Conflict when there are such datasets: the older code would look for their images.
    """
    known = sa.text("SELECT count(*) FROM datasets WHERE statistics_only")
    if count := op.get_bind().scalar(known):
        raise Conflict(
            f"Revision 0004 has no words for datasets without images, and {count} are registered: "
            "stay at 0005, or restore a backup from before it.",
            code="statistics_only",
        )
    op.drop_column("datasets", "statistics_only")
