"""The tables of the history of the queues

Phase: expand (a new column and new tables; code of the release before does not read them)
Locks: ACCESS EXCLUSIVE on deltas for a moment.

Revision: 20261129_07, after 20261129_06
Written: 2026-11-29
"""

from alembic import op

revision = "20261129_07"
down_revision = "20261129_06"
branch_labels = None
depends_on = None


STATUSES = ("new", "proc", "retry", "hold")
TIME = "timestamp with time zone NOT NULL"
ARRAYS = (*STATUSES, "arrived", *(f"{status}_counts" for status in STATUSES))


def _required(names: tuple[str, ...], type_: str) -> str:
    return ", ".join(f"{name} {type_} NOT NULL" for name in names)


TABLES = {
    "history_changes": f"step integer NOT NULL, until {TIME}, sender_id bigint NOT NULL,"
    f' isp text COLLATE "C" NOT NULL, at {TIME}, {_required(STATUSES, "bigint")}, arrived bigint NOT NULL,'
    " sender_arrived bigint NOT NULL, left_at timestamp with time zone, sender_left_at timestamp with time zone",
    "history_steps": f"step integer NOT NULL, rolled_until {TIME}, rolled_sender bigint NOT NULL,"
    " kept_since timestamp with time zone,"
    " CONSTRAINT history_steps_pkey PRIMARY KEY (step)",
    "history_spans": f"since {TIME}, until {TIME}, CONSTRAINT history_spans_pkey PRIMARY KEY (since)",
    "history_begins": f"sender_id bigint NOT NULL, at {TIME},"
    " CONSTRAINT history_begins_pkey PRIMARY KEY (sender_id, at)",
}


def upgrade() -> None:
    op.execute("ALTER TABLE queuestats.deltas ADD COLUMN net bigint")
    for name, columns in TABLES.items():
        op.execute(f"CREATE TABLE queuestats.{name} ({columns})")
    op.execute(
        "CREATE INDEX history_changes_step_until_sender_id ON queuestats.history_changes (step, until, sender_id)"
    )
    op.execute("ALTER TABLE queuestats.history_changes REPLICA IDENTITY FULL")
    op.execute(
        f"CREATE TABLE queuestats.history (step integer NOT NULL, sender_id bigint NOT NULL, period {TIME},"
        f' numbers smallint[] NOT NULL, isps text[] COLLATE "C" NOT NULL, {_required(ARRAYS, "bigint[]")},'
        " idle_minutes smallint[] NOT NULL, CONSTRAINT history_pkey PRIMARY KEY (sender_id, step, period))"
        " PARTITION BY RANGE (step, period)"
    )
    # Compressed in the row: a period has many small numbers.
    compressed = ", ".join(
        f"ALTER COLUMN {name} SET STORAGE MAIN" for name in ("numbers", "isps", *ARRAYS, "idle_minutes")
    )
    op.execute(f"ALTER TABLE queuestats.history {compressed}")


def downgrade() -> None:
    for name in ("history", *TABLES):
        # Functions return their rows. The previous release has none of these functions.
        op.execute(f"DROP TABLE queuestats.{name} CASCADE")
    op.execute("ALTER TABLE queuestats.deltas DROP COLUMN net")
