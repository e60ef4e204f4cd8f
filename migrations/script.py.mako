"""${message}

One idea, reversible. On SQLite a batch operation rebuilds the table and loses its triggers:
create them again (`0001_registry_and_jobs`).
"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
