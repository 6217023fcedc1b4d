"""The indexes for the order in which the bounds of the oldest messages are read

Phase: expand (new indexes)
Locks: SHARE on bounds while the indexes are built. The table is as new as the revision before: empty, or small.

Revision: 20261129_08, after 20261129_07
Written: 2026-11-29
"""

from alembic import op

revision = "20261129_08"
down_revision = "20261129_07"
branch_labels = None
depends_on = None

ORDERS = {status: status for status in ("new", "proc", "retry", "hold")} | {"total": "least(new, proc, retry, hold)"}


def upgrade() -> None:
    for name, order in ORDERS.items():
        op.execute(
            f"-- squawk-ignore require-concurrent-index-creation\nCREATE INDEX bounds_by_{name}"
            f" ON queuestats.bounds ({order}, sender_id) WHERE {order} < 'infinity'"
        )


def downgrade() -> None:
    # Otherwise the previous revision can't drop the table.
    op.execute("DROP FUNCTION IF EXISTS queuestats.time_in(queuestats.bounds, text)")
    for name in ORDERS:
        op.execute(f"DROP INDEX queuestats.bounds_by_{name}")
