"""Replica identity for tables without a primary key, for a publication FOR ALL TABLES

Phase: expand (code of the release before reads and writes the tables as before)

PostgreSQL refuses to update or delete rows of a published table that has no replica identity. Each table is changed in
its own transaction: otherwise a statement that reads several of them would wait for one and block another.

Revision: 20261129_03, after 20261129_02
Written: 2026-11-29
"""

from alembic import op

revision = "20261129_03"
down_revision = "20261129_02"
branch_labels = None
depends_on = None

TABLES = ("deltas", "counters", "fold_lock")


def upgrade() -> None:
    for table in TABLES:
        with op.get_context().autocommit_block():
            op.execute(f"ALTER TABLE queuestats.{table} REPLICA IDENTITY FULL")


def downgrade() -> None:
    for table in TABLES:
        with op.get_context().autocommit_block():
            op.execute(f"ALTER TABLE queuestats.{table} REPLICA IDENTITY DEFAULT")
