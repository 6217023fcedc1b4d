"""The audit log of a sender is read by an index

Phase: expand (a new index)
Locks: SHARE on audit_log while the index is built: holds, releases and purges wait for a moment.

Revision: 20261130_01, after 20261129_08
Written: 2026-11-30
"""

from alembic import op

revision = "20261130_01"
down_revision = "20261129_08"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "-- squawk-ignore require-concurrent-index-creation\n"
        "CREATE INDEX audit_log_sender_id ON queuestats.audit_log (sender_id, id)"
    )


def downgrade() -> None:
    op.execute("DROP INDEX queuestats.audit_log_sender_id")
