"""How large the file was that a supernet was imported from: a project answers for its bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it: those that were imported before count for nothing."""
    size = sa.Column("size_bytes", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("supernets", size)


def downgrade() -> None:
    """Drop it: imported supernets are stored by nobody, as before."""
    op.drop_column("supernets", "size_bytes")
