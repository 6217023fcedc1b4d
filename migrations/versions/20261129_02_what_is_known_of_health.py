"""Records about the health of the counters: drift, background tasks, the objects that migrate created

Phase: expand (tables, and a column that may be NULL; code of the release before reads and writes none of them)

Revision: 20261129_02, after 20261129_01
Written: 2026-11-29
"""

import sqlalchemy as sa
from alembic import op

revision = "20261129_02"
down_revision = "20261129_01"
branch_labels = None
depends_on = None

SCHEMA = "queuestats"


def upgrade() -> None:
    op.add_column("baseline", sa.Column("doubted_at", sa.DateTime(timezone=True)), schema=SCHEMA)
    op.create_table(
        "drift",
        sa.Column("sender_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("differences", sa.BigInteger, nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("sender_id", name="drift_pkey"),
        schema=SCHEMA,
    )
    op.create_table(
        "background_tasks",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("succeeded_at", sa.DateTime(timezone=True)),
        sa.Column("failed_at", sa.DateTime(timezone=True)),
        sa.Column("failing_since", sa.DateTime(timezone=True)),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("name", name="background_tasks_pkey"),
        schema=SCHEMA,
    )
    op.create_table(
        "objects",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name="objects_pkey"),
        schema=SCHEMA,
    )


def downgrade() -> None:
    for name in ("objects", "background_tasks", "drift"):
        op.drop_table(name, schema=SCHEMA)
    op.drop_column("baseline", "doubted_at", schema=SCHEMA)
