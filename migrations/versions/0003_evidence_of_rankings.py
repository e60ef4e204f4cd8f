"""What a ranking rests on, and where each embedding's centre lies."""

import logging

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

log = logging.getLogger("migrations")

DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Add the columns; earlier rankings and embeddings simply say less."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    nothing = sa.text("X''" if sqlite else "''")  # SQLite would keep '' as text among its bytes
    with op.batch_alter_table("embeddings") as embeddings:
        embeddings.add_column(
            sa.Column("centre", sa.LargeBinary(), nullable=False, server_default=nothing)
        )
    with op.batch_alter_table("rankings") as rankings:
        for name in ("sources", "proven"):
            rankings.add_column(
                sa.Column(name, sa.Integer(), nullable=False, server_default=sa.text("0"))
            )
        for name in ("verdict", "map"):
            rankings.add_column(sa.Column(name, DOCUMENT, nullable=True))


def downgrade() -> None:
    """Drop them. Upgrading again brings back the columns, not what was in them."""
    for table, those in (("embeddings", "length(centre) > 0"), ("rankings", "sources > 0")):
        count = op.get_bind().scalar(sa.text(f"SELECT count(*) FROM {table} WHERE {those}"))
        if count:
            log.warning("the evidence of %d %s is dropped", count, table)
    with op.batch_alter_table("rankings") as rankings:
        for name in ("map", "verdict", "proven", "sources"):
            rankings.drop_column(name)
    with op.batch_alter_table("embeddings") as embeddings:
        embeddings.drop_column("centre")
