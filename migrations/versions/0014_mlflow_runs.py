"""Which searches MLflow has been told, and when it is to be told of the others."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

INSTANT = sa.String(23).with_variant(TIMESTAMP(timezone=True), "postgresql")
INDEX, UNTOLD = "ix_searches_untold", sa.text("mlflow_run_id IS NULL")


def upgrade() -> None:
    """Add them: MLflow has been told of none of those that are there."""
    op.add_column("searches", sa.Column("mlflow_run_id", sa.String(64), nullable=True))
    op.add_column("searches", sa.Column("mlflow_due_at", INSTANT, nullable=True))
    failures = sa.Column("mlflow_failures", sa.Integer(), nullable=False, server_default="0")
    op.add_column("searches", failures)
    only = {"postgresql_where": UNTOLD, "sqlite_where": UNTOLD}
    op.create_index(INDEX, "searches", ["created_at"], **only)


def downgrade() -> None:
    """Drop them: a newer version finds by their tags the runs that there are."""
    op.drop_index(INDEX, "searches")
    for name in ("mlflow_failures", "mlflow_due_at", "mlflow_run_id"):
        op.drop_column("searches", name)
