"""The order of jobs, the messages of holds, and the limits of their makers

Phase: expand (new columns and indexes; code of the release before does not read them)
Locks: ACCESS EXCLUSIVE on holds, jobs and audit_log for moments, and on held_messages while it is read once for its
index, a second for each ten million rows. Writers of messages that are held wait for it.

Revision: 20261129_05, after 20261129_04
Written: 2026-11-29
"""

from alembic import op

revision = "20261129_05"
down_revision = "20261129_04"
branch_labels = None
depends_on = None

COLUMNS = {
    "holds": ("sender_limits bigint[]", "account_limits bigint[]"),
    "held_messages": ("hold_id bigint",),
    "jobs": (
        "ended_holds bigint[] DEFAULT '{}'::bigint[] NOT NULL",
        "sender_limits bigint[]",
        "account_limits bigint[]",
        "left_holds bigint DEFAULT 0 NOT NULL",
        "left_messages bigint DEFAULT 0 NOT NULL",
        "run_at timestamp with time zone DEFAULT now() NOT NULL",
        "stepped_at timestamp with time zone",
        "attempts integer DEFAULT 0 NOT NULL",
        "error text",
        "failed bigint DEFAULT 0 NOT NULL",
        "waits_for text",
        "waits_since timestamp with time zone",
        "blockers text[]",
        "written_by xid8",
    ),
    "audit_log": ("hold_ids bigint[]",),
}
INDEXES = {
    "holds_filter": "holds (hash_record_extended(ROW(sender_id, account_id, campaign_id, isp), 0::bigint))",
    "held_messages_hold": "held_messages (hold_id) WHERE hold_id IS NOT NULL",
    "jobs_sender_id": "jobs (sender_id, id)",
}
STATES = "state IN ('waiting', 'working', 'settling', 'done', {}'cancelled')"


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        op.execute(f"ALTER TABLE queuestats.{table} " + ", ".join(f"ADD COLUMN {column}" for column in columns))
    op.execute("ALTER TABLE queuestats.jobs ALTER COLUMN written_by SET DEFAULT pg_current_xact_id()")
    # In the same transaction: holds and jobs are small, and hold_id is NULL in every row, so its index is empty.
    for name, definition in INDEXES.items():
        op.execute(
            f"-- squawk-ignore require-concurrent-index-creation\nCREATE INDEX {name} ON queuestats.{definition}"
        )
    _allow_states("'failed', ")


def downgrade() -> None:
    op.execute("UPDATE queuestats.jobs SET state = 'cancelled' WHERE state = 'failed'")
    _allow_states("")
    for name in INDEXES:
        op.execute(f"DROP INDEX queuestats.{name}")
    for table, columns in COLUMNS.items():
        names = (column.split()[0] for column in columns)
        op.execute(f"ALTER TABLE queuestats.{table} " + ", ".join(f"DROP COLUMN {name}" for name in names))


def _allow_states(more: str) -> None:
    op.execute("-- squawk-ignore ban-drop-constraint\nALTER TABLE queuestats.jobs DROP CONSTRAINT jobs_state")
    op.execute(
        "-- squawk-ignore constraint-missing-not-valid\n"
        f"ALTER TABLE queuestats.jobs ADD CONSTRAINT jobs_state CHECK ({STATES.format(more)})"
    )
