"""Supernets of several datasets or of none here, each with its lineage."""

import logging

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

log = logging.getLogger("migrations")

DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
IMPORTED = sa.text("job_id IS NULL")
SUPERNETS = sa.table(
    "supernets",
    sa.column("id", sa.Uuid()),
    sa.column("dataset_id", sa.Uuid()),
    sa.column("job_id", sa.Uuid()),
    sa.column("seconds", sa.Double()),
    sa.column("lineage", DOCUMENT),
)
DATASETS = sa.table(
    "datasets",
    sa.column("id", sa.Uuid()),
    sa.column("name", sa.Text()),
    sa.column("sha256", sa.String(64)),
    sa.column("classes", DOCUMENT),
    sa.column("train_counts", DOCUMENT),
)


def upgrade() -> None:
    """Every supernet so far was trained on its one dataset."""
    op.add_column("supernets", sa.Column("lineage", DOCUMENT, nullable=True))
    _tell_lineage(op.get_bind())
    with op.batch_alter_table("supernets") as supernets:
        supernets.alter_column("lineage", existing_type=DOCUMENT, nullable=False)
        for name in ("dataset_id", "job_id"):
            supernets.alter_column(name, existing_type=sa.Uuid(), nullable=True)
    op.create_index("ix_supernets_sha256", "supernets", ["sha256"])
    op.create_index(
        "ix_supernets_imported",
        "supernets",
        ["sha256"],
        unique=True,
        postgresql_where=IMPORTED,
        sqlite_where=IMPORTED,
    )


def downgrade() -> None:
    """Supernets that this version's predecessor has no words for leave the registry; their
    files stay in the store and can be imported again. Of the others the lineage is dropped."""
    wordless = SUPERNETS.c.dataset_id.is_(None) | SUPERNETS.c.job_id.is_(None)
    gone = op.get_bind().execute(sa.delete(SUPERNETS).where(wordless)).rowcount
    if gone:
        log.warning("%d supernets of several datasets or of none here leave the registry", gone)
    known = sa.select(sa.func.count()).select_from(SUPERNETS)
    if kept := op.get_bind().scalar(known):
        log.warning("the lineage of %d supernets is dropped: an upgrade knows no parents", kept)
    op.drop_index("ix_supernets_imported", "supernets")
    op.drop_index("ix_supernets_sha256", "supernets")
    with op.batch_alter_table("supernets") as supernets:
        for name in ("dataset_id", "job_id"):
            supernets.alter_column(name, existing_type=sa.Uuid(), nullable=False)
        supernets.drop_column("lineage")


def _tell_lineage(connection: sa.Connection) -> None:
    known = sa.select(SUPERNETS.c.id, SUPERNETS.c.seconds, DATASETS).join_from(
        SUPERNETS, DATASETS, SUPERNETS.c.dataset_id == DATASETS.c.id
    )
    for supernet_id, seconds, _, name, sha256, classes, counts in connection.execute(known).all():
        dataset = {
            "name": name,
            "sha256": sha256,
            "classes": len(classes),
            "images": sum(counts),
        }
        lineage = {
            "kind": "dataset",
            "datasets": [dataset],
            "parents": [],
            "training": {"seconds": seconds},
        }
        change = sa.update(SUPERNETS).where(SUPERNETS.c.id == supernet_id)
        connection.execute(change.values(lineage=lineage))
