"""The tables of the history: see sql/counters/history.sql."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from service.schema.columns import count_columns, message_status, metadata

_BIGINTS = ("arrived", *(f"{status}_counts" for status in message_status.enums))


def _time(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


# Changes that folds have recorded and that are not rolled up. `at`: the end of the row's minute or ten minutes.
history_changes = sa.Table(
    "history_changes",
    metadata,
    sa.Column("step", sa.Integer, nullable=False),
    _time("until"),
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    sa.Column("isp", sa.Text(collation="C"), nullable=False),
    _time("at"),
    *count_columns(),
    # The messages that arrived for the ISP, and the part of them that arrived for the whole sender.
    sa.Column("arrived", sa.BigInteger, nullable=False),
    sa.Column("sender_arrived", sa.BigInteger, nullable=False),
    # The last minute in which a message left.
    _time("left_at", nullable=True),
    _time("sender_left_at", nullable=True),
    sa.Index("history_changes_step_until_sender_id", "step", "until", "sender_id"),
)

# The steps of one sender within a period. Partitions are created and dropped as time passes.
history = sa.Table(
    "history",
    metadata,
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    _time("period"),
    # The numbers of the steps within the period, starting at 1. The ISP NULL is for the whole sender.
    sa.Column("numbers", ARRAY(sa.SmallInteger), nullable=False),
    sa.Column("isps", ARRAY(sa.Text(collation="C")), nullable=False),
    *(sa.Column(name, ARRAY(sa.BigInteger), nullable=False) for name in (*message_status.enums, *_BIGINTS)),
    # Minutes from the last departure of a message to the end of the step; NULL where no message left.
    sa.Column("idle_minutes", ARRAY(sa.SmallInteger), nullable=False),
    sa.PrimaryKeyConstraint("sender_id", "step", "period", name="history_pkey"),
    postgresql_partition_by="RANGE (step, period)",
)

# The last row of each step that is rolled up.
history_steps = sa.Table(
    "history_steps",
    metadata,
    sa.Column("step", sa.Integer, autoincrement=False, nullable=False),
    _time("rolled_until"),
    sa.Column("rolled_sender", sa.BigInteger, nullable=False),
    # NULL: no partition was dropped.
    _time("kept_since", nullable=True),
    sa.PrimaryKeyConstraint("step", name="history_steps_pkey"),
)

# The times in which folds ran without a pause of more than five seconds.
history_spans = sa.Table(
    "history_spans",
    metadata,
    _time("since"),
    _time("until"),
    sa.PrimaryKeyConstraint("since", name="history_spans_pkey"),
)

# The times when a sender, or (0) all senders, were recounted.
history_begins = sa.Table(
    "history_begins",
    metadata,
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    _time("at"),
    sa.PrimaryKeyConstraint("sender_id", "at", name="history_begins_pkey"),
)
