"""Projects, their API keys, logins at a browser, and a log of what was done that only grows."""

import logging
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

log = logging.getLogger("migrations")

INSTANT = sa.String(23).with_variant(TIMESTAMP(timezone=True), "postgresql")
# Of the two projects that are always there; the same wherever they are made.
BEGAN = datetime(2026, 11, 26, tzinfo=UTC)
TRIGGERS = (
    ("audit_update", "UPDATE", "audit entries cannot change"),
    ("audit_delete", "DELETE", "audit entries cannot be deleted"),
)


def upgrade() -> None:
    """Add them, and the two projects that are always there."""
    _create_projects()
    _create_keys()
    _create_audit()


def downgrade() -> None:
    """Drop them: the older code asks nobody who they are, and listens to loopback alone."""
    ask = op.get_bind().scalar
    if keys := ask(sa.text("SELECT count(*) FROM api_keys")):
        log.warning("%d API keys are dropped: whoever has one needs a new one", keys)
    if entries := ask(sa.text("SELECT count(*) FROM audit")):
        log.warning("%d entries of the audit log are dropped", entries)
    for table in ("audit", "browser_sessions", "api_keys", "projects"):
        op.drop_table(table)


def _create_projects() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("active_jobs", sa.Integer(), nullable=True),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("gpu_seconds", sa.Double(), nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("name", name="uq_projects_name"),
    )
    moment = BEGAN if op.get_bind().dialect.name == "postgresql" else "2026-11-26 00:00:00.000"
    for number, name in enumerate(("public", "default")):
        op.execute(projects.insert().values(id=UUID(int=number), name=name, created_at=moment))


def _create_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=True),
        sa.Column("revoked_at", INSTANT, nullable=True),
        sa.Column("last_used_at", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_api_keys_project_id"),
    )
    op.create_index("ix_api_keys_project_id_created_at", "api_keys", ["project_id", "created_at"])
    op.create_table(
        "browser_sessions",
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_browser_sessions"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_browser_sessions_key_id"),
    )
    op.create_index("ix_browser_sessions_key_id", "browser_sessions", ["key_id"])
    op.create_index("ix_browser_sessions_expires_at", "browser_sessions", ["expires_at"])


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("request_id", sa.String(64), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    by_project = ["project_id", "created_at", "id"]
    op.create_index("ix_audit_project_id_created_at_id", "audit", by_project)
    op.create_index("ix_audit_created_at_id", "audit", ["created_at", "id"])
    postgresql = op.get_bind().dialect.name == "postgresql"
    for name, change, words in TRIGGERS:
        refuse = (
            f"FOR EACH ROW EXECUTE FUNCTION headstart_refuse('{words}')"
            if postgresql
            else f"BEGIN SELECT RAISE(ABORT, '{words}'); END"
        )
        op.execute(f"CREATE TRIGGER {name} BEFORE {change} ON audit {refuse}")
