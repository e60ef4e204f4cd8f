"""The database itself refuses to change a finished job or to rewrite a job's events."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FINISHED = "OLD.state IN ('succeeded', 'failed', 'cancelled')"
# (trigger, table, event, condition, what it says)
TRIGGERS = (
    ("jobs_finished_update", "jobs", "UPDATE", FINISHED, "a finished job cannot change"),
    ("jobs_finished_delete", "jobs", "DELETE", FINISHED, "a finished job cannot be deleted"),
    ("job_events_update", "job_events", "UPDATE", "TRUE", "job events cannot change"),
    ("job_events_delete", "job_events", "DELETE", "TRUE", "job events cannot be deleted"),
)
# 23000, integrity constraint violation, is also what SQLite's RAISE(ABORT) reports.
REFUSE = """
CREATE FUNCTION headstart_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""


def upgrade() -> None:
    """Create the triggers."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(REFUSE)
        for name, table, change, condition, words in TRIGGERS:
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {change} ON {table} FOR EACH ROW "
                f"WHEN ({condition}) EXECUTE FUNCTION headstart_refuse('{words}')"
            )
        return
    for name, table, change, condition, words in TRIGGERS:
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {change} ON {table} WHEN {condition} "
            f"BEGIN SELECT RAISE(ABORT, '{words}'); END"
        )


def downgrade() -> None:
    """Drop them."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for name, table, *_ in TRIGGERS:
        op.execute(f"DROP TRIGGER {name}" + (f" ON {table}" if postgresql else ""))
    if postgresql:
        op.execute("DROP FUNCTION headstart_refuse()")
