"""The bounds and the index with which the oldest message of each status is found

Phase: expand (new columns, a new table and an index; code of the release before does not read them)
Locks: ACCESS EXCLUSIVE on deltas for a moment. The index on messages is built CONCURRENTLY, unless messages is
partitioned: then writers wait until it is built. It replaces messages_sender_id_status.

Revision: 20261129_06, after 20261129_05
Written: 2026-11-29
"""

from alembic import context, op

revision = "20261129_06"
down_revision = "20261129_05"
branch_labels = None
depends_on = None

STATUSES = ("new", "proc", "retry", "hold")


def upgrade() -> None:
    # First, because it commits the former steps, and a revision grants the rights on a new table only at its end.
    _index("messages_by_arrival", "sender_id, status, created_at", "messages_sender_id_status")
    op.execute("ALTER TABLE queuestats.deltas ADD COLUMN oldest timestamp with time zone, ADD COLUMN came smallint")
    columns = ", ".join(f"{status} timestamp with time zone NOT NULL" for status in STATUSES)
    op.execute(
        f"CREATE TABLE queuestats.bounds (sender_id bigint NOT NULL, number bigint NOT NULL, {columns},"
        " CONSTRAINT bounds_pkey PRIMARY KEY (sender_id, number))"
    )


def downgrade() -> None:
    _index("messages_sender_id_status", "sender_id, status", "messages_by_arrival")
    # The view of the previous release lacks a column. That release creates the dropped objects again.
    op.execute("DROP VIEW IF EXISTS queuestats.queued_messages CASCADE")
    op.execute("DROP TABLE queuestats.bounds")
    op.execute("ALTER TABLE queuestats.deltas DROP COLUMN oldest, DROP COLUMN came")


def _index(name: str, columns: str, former: str) -> None:
    """With an adopted table, there is no table messages."""
    kind: str | None = "r"
    if not context.is_offline_mode():
        look_up = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass('messages')"
        kind = op.get_bind().exec_driver_sql(look_up).scalar()
    if kind is None:
        return
    online = "" if kind == "p" else "CONCURRENTLY"
    with op.get_context().autocommit_block():
        # An interrupted attempt leaves an invalid index.
        op.execute(f"DROP INDEX {online} IF EXISTS {name}")
        op.execute(f"CREATE INDEX {online} {name} ON messages ({columns})")
        op.execute(f"DROP INDEX {online} IF EXISTS {former}")
