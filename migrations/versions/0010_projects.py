"""Every row a project's: what there is so far is the default one's, the package's supernets all's.

No references to `projects`: SQLite adds no column that has both a reference and a default while it
checks references, and without a default every row would be written anew, finished jobs included.
"""

from uuid import UUID

import sqlalchemy as sa
from alembic import op

from core.errors import Conflict

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

PUBLIC, DEFAULT = UUID(int=0), UUID(int=1)
TABLES = ("datasets", "embeddings", "rankings", "jobs", "job_events", "job_records", "checkpoints",
          "idempotency_keys", "supernets", "searches", "models", "uploads",
          "upload_parts")  # fmt: skip
CONSTRAINTS = (
    (
        "datasets",
        "CONSTRAINT uq_datasets_sha256 UNIQUE (sha256)",
        "CONSTRAINT uq_datasets_project_id_sha256 UNIQUE (project_id, sha256)",
    ),
    (
        "idempotency_keys",
        'CONSTRAINT pk_idempotency_keys PRIMARY KEY ("key")',
        'CONSTRAINT pk_idempotency_keys PRIMARY KEY (project_id, "key")',
    ),
)
LISTED = ("jobs", "searches", "models")
IMPORTED = sa.text("job_id IS NULL")
# The files that came with the package, whoever entered them.
SHIPPED = (
    "be4aeae6ea6300eb98559f2d7a5230d9ad8ca533cc4afd49b04feef1a01dd6ae",
    "162d2a9715c7076978c3ffe8007c738ffc18a5497deef8aff999a51eee3473e2",
)
SUPERNETS = sa.table(
    "supernets",
    sa.column("project_id", sa.Uuid()),
    sa.column("job_id", sa.Uuid()),
    sa.column("sha256", sa.String(64)),
)


def upgrade() -> None:
    """Add the column everywhere; what was unique is so in its project."""
    for table in TABLES:
        # The default is also for what an older version writes while this one takes over.
        column = sa.Column("project_id", sa.Uuid(), nullable=False, server_default=_default())
        op.add_column(table, column)
    for table, before, after in CONSTRAINTS:
        _replace(table, before, after)
    _change_imported("project_id", "sha256")
    for table in LISTED:
        op.drop_index(f"ix_{table}_created_at_id", table)
        columns = ["project_id", "created_at", "id"]
        op.create_index(f"ix_{table}_project_id_created_at_id", table, columns)
    shipped = SUPERNETS.c.job_id.is_(None) & SUPERNETS.c.sha256.in_(SHIPPED)
    op.execute(SUPERNETS.update().where(shipped).values(project_id=PUBLIC))


def downgrade() -> None:
    """Drop it: what is everybody's supernets are the one project's again, as its own imports are.

    Raises Conflict where there is more of other projects: the older code would show it to all.
    """
    _take_back_supernets()
    for table in TABLES:
        rows = sa.table(table, sa.column("project_id", sa.Uuid()))
        count = sa.select(sa.func.count()).where(rows.c.project_id != DEFAULT)
        if others := op.get_bind().scalar(count):
            raise Conflict(
                f"Revision 0009 knows no projects, and {others} rows of '{table}' are not the "
                "default one's: stay at 0010, or restore a backup from before it.",
                code="other_projects",
            )
    for table in LISTED:
        op.drop_index(f"ix_{table}_project_id_created_at_id", table)
        op.create_index(f"ix_{table}_created_at_id", table, ["created_at", "id"])
    _change_imported("sha256")
    for table, before, after in CONSTRAINTS:
        _replace(table, after, before)
    for table in TABLES:
        op.drop_column(table, "project_id")


def _default() -> str:
    return str(DEFAULT) if op.get_bind().dialect.name == "postgresql" else DEFAULT.hex


def _replace(table: str, before: str, after: str) -> None:
    """One constraint by another.

    On SQLite the table is made anew, as it was said: others point at it, so whoever migrates has
    put off the check of references until the end.
    """
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.drop_constraint(before.split()[1], table)
        op.execute(f"ALTER TABLE {table} ADD {after}")
        return
    found = sa.text("SELECT type, sql FROM sqlite_master WHERE tbl_name = :table AND sql <> ''")
    said = connection.execute(found, {"table": table}).all()
    own = next(sql for kind, sql in said if kind == "table")
    if before not in own:
        raise ValueError(f"'{table}' has no {before}")
    columns = own.partition("(")[2].replace(before, after)
    connection.exec_driver_sql(f"CREATE TABLE new_{table} ({columns}")
    op.execute(f"INSERT INTO new_{table} SELECT * FROM {table}")
    op.drop_table(table)
    op.rename_table(f"new_{table}", table)
    for kind, sql in said:
        if kind != "table":
            connection.exec_driver_sql(sql)


def _change_imported(*columns: str) -> None:
    op.drop_index("ix_supernets_imported", "supernets")
    where = {"postgresql_where": IMPORTED, "sqlite_where": IMPORTED}
    op.create_index("ix_supernets_imported", "supernets", list(columns), unique=True, **where)


def _take_back_supernets() -> None:
    """Of one that the project has imported itself, its own stays."""
    public = (SUPERNETS.c.project_id == PUBLIC) & SUPERNETS.c.job_id.is_(None)
    own = SUPERNETS.alias()
    too = (own.c.project_id == DEFAULT) & own.c.job_id.is_(None)
    twice = sa.exists().where(too, own.c.sha256 == SUPERNETS.c.sha256)
    op.execute(SUPERNETS.delete().where(public, twice))
    op.execute(SUPERNETS.update().where(public).values(project_id=DEFAULT))
