"""What a ranking rests on, and where each embedding's centre lies."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the columns; earlier rankings and embeddings simply say less."""
    with op.batch_alter_table("embeddings") as embeddings:
        embeddings.add_column(
            sa.Column("centre", sa.LargeBinary(), nullable=False, server_default=sa.text("''"))
        )
    with op.batch_alter_table("rankings") as rankings:
        for name in ("sources", "proven"):
            rankings.add_column(
                sa.Column(name, sa.Integer(), nullable=False, server_default=sa.text("0"))
            )
        for name in ("verdict", "map"):
            rankings.add_column(sa.Column(name, DOCUMENT, nullable=True))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("rankings") as rankings:
        for name in ("map", "verdict", "proven", "sources"):
            rankings.drop_column(name)
    with op.batch_alter_table("embeddings") as embeddings:
        embeddings.drop_column("centre")
