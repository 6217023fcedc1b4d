"""The schema as SQLAlchemy knows it; Alembic's autogenerate compares it with the migrated database.

Every primary key and unique constraint of a sender's data holds `sender_id`: the tables can be distributed by it.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, ENUM, JSONB, OID
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType

# Everything of ours but `messages` and its enumeration lives here.
SCHEMA = "queuestats"

metadata = MetaData()

message_status = ENUM("new", "proc", "retry", "hold", name="message_status", metadata=metadata)
# By which keys a counter is kept: the eight combinations of account, campaign and ISP.
grouping_set = ENUM(
    *("total", "account", "campaign", "isp"),
    *("account_campaign", "account_isp", "campaign_isp", "account_campaign_isp"),
    name="grouping_set",
    schema=SCHEMA,
    metadata=metadata,
)

messages = Table(
    "messages",
    metadata,
    Column("id", BigInteger, Identity(always=False), nullable=False),
    Column("sender_id", BigInteger, nullable=False),
    # 0 stands for mail outside any account or campaign; the wire cannot ask for a negative id.
    Column("account_id", BigInteger, nullable=False, server_default=text("0")),
    Column("campaign_id", BigInteger, nullable=False, server_default=text("0")),
    # "C" sorts by the bytes, as the wire promises, and bounds what an index entry can take.
    Column("isp", Text(collation="C"), nullable=False, server_default=text("''")),
    Column("status", message_status, nullable=False, server_default=text("'new'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("recipient", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("next_attempt_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # `id` first: `WHERE id = 1` stays a point look-up.
    PrimaryKeyConstraint("id", "sender_id", name="messages_pkey"),
    CheckConstraint("sender_id > 0", name="messages_sender_id_positive"),
    CheckConstraint("account_id >= 0", name="messages_account_id_not_negative"),
    CheckConstraint("campaign_id >= 0", name="messages_campaign_id_not_negative"),
    CheckConstraint("octet_length(isp) <= 255", name="messages_isp_short"),
    Index("messages_sender_id_status", "sender_id", "status"),
)


class XID8(UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        return "xid8"


class TID(UserDefinedType[str]):
    """The address of a row in its table."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        return "tid"


# SQLAlchemy does not know the types; it reads the database's columns for Alembic's comparison.
ischema_names.update({"xid8": XID8, "tid": TID})


def _key_columns() -> list[Column[Any]]:
    return [
        Column("account_id", BigInteger, nullable=False),
        Column("campaign_id", BigInteger, nullable=False),
        Column("isp", Text(collation="C"), nullable=False),
    ]


def _count_columns() -> list[Column[Any]]:
    return [Column(status, BigInteger, nullable=False) for status in message_status.enums]


# By how much a statement changed a key's counts, written in the writer's own transaction; see sql/counters/README.md.
deltas = Table(
    "deltas",
    metadata,
    Column("xid", XID8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("sender_id", BigInteger, nullable=False),
    *_key_columns(),
    *_count_columns(),
    Index("deltas_sender_id_xid", "sender_id", "xid"),
    # For the folder alone: a predicate that is always true and that no reader repeats keeps readers off this index.
    Index("deltas_xid", "xid", postgresql_where=text("xid >= '0'::xid8")),
    schema=SCHEMA,
)

# What the folded deltas add up to, by every grouping set.
counters = Table(
    "counters",
    metadata,
    Column("sender_id", BigInteger, nullable=False),
    Column("grouping_set", grouping_set, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    *_key_columns(),
    *_count_columns(),
    # Both hold every row: the predicates are always true. A statement chooses its index by repeating the predicate.
    Index(
        "counters_by_account",
        *("sender_id", "grouping_set", "epoch", "account_id", "campaign_id", "isp"),
        unique=True,
        postgresql_where=text("account_id >= 0"),
    ),
    Index(
        "counters_by_isp",
        *("sender_id", "grouping_set", "epoch", "isp", "campaign_id", "account_id"),
        unique=True,
        postgresql_where=text("isp >= ''::text"),
    ),
    schema=SCHEMA,
)

# The counters of grouping set total and epoch 0 once more, in the order of each count: for the largest senders.
sender_totals = Table(
    "sender_totals",
    metadata,
    Column("sender_id", BigInteger, autoincrement=False, nullable=False),
    *_count_columns(),
    Column("total", BigInteger, Computed("new + proc + retry + hold"), nullable=False),
    PrimaryKeyConstraint("sender_id", name="sender_totals_pkey"),
    schema=SCHEMA,
)
for _count in (*message_status.enums, "total"):
    Index(
        f"sender_totals_by_{_count}",
        sender_totals.c[_count].desc(),
        sender_totals.c.sender_id,
        postgresql_where=sender_totals.c[_count] > 0,
    )

# How far the folding of a busy sender has come.
watermarks = Table(
    "watermarks",
    metadata,
    Column("sender_id", BigInteger, autoincrement=False, nullable=False),
    Column("watermark", XID8, nullable=False),
    # Transactions below it that had not ended when it was set.
    Column("running", ARRAY(XID8), nullable=False, server_default=text("'{}'::xid8[]")),
    Column("epoch", BigInteger, nullable=False),
    Column("written_by", XID8, nullable=False),
    Column("compacted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("sender_id", name="watermarks_pkey"),
    schema=SCHEMA,
)

# For its lock: see sql/counters/lock.sql; a row in it, for a moment, is a TRUNCATE of messages that is not over yet.
fold_lock = Table("fold_lock", metadata, Column("never", Boolean), schema=SCHEMA)

# One row once the counters hold all messages; until then the scan answers.
baseline = Table(
    "baseline",
    metadata,
    Column("stands", Boolean, nullable=False, server_default=text("true")),
    Column("counted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # The partitions that are counted, by their object ids, where messages has any.
    Column("parts", ARRAY(OID), nullable=False, server_default=text("'{}'::oid[]")),
    PrimaryKeyConstraint("stands", name="baseline_pkey"),
    CheckConstraint("stands", name="baseline_stands"),
    schema=SCHEMA,
)


def _filter_columns() -> list[Column[Any]]:
    """NULL lets every message of the sender through."""
    return [
        Column("sender_id", BigInteger, nullable=False),
        Column("account_id", BigInteger),
        Column("campaign_id", BigInteger),
        Column("isp", Text(collation="C")),
    ]


# The active ones; what has ended stands in the audit log.
holds = Table(
    "holds",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    *_filter_columns(),
    Column("reason", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    Index("holds_sender_id", "sender_id"),
    schema=SCHEMA,
)

# What a held message is given back when it is released.
held_messages = Table(
    "held_messages",
    metadata,
    Column("sender_id", BigInteger, nullable=False),
    Column("id", BigInteger, nullable=False),
    Column("former_status", message_status, nullable=False),
    PrimaryKeyConstraint("sender_id", "id", name="held_messages_pkey"),
    schema=SCHEMA,
)

# Calls of hold, release and purge that are being carried out, or were: see sql/control/README.md.
jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("action", Text, nullable=False),
    *_filter_columns(),
    Column("hold_id", BigInteger),
    Column("requested_by", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("state", Text, nullable=False, server_default=text("'waiting'::text")),
    Column("matched", BigInteger, nullable=False, server_default=text("0")),
    Column("changed", BigInteger, nullable=False, server_default=text("0")),
    # Transactions below it may not have seen the hold, or its end.
    Column("settles_at", XID8),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint("action IN ('hold', 'release', 'purge')", name="jobs_action"),
    CheckConstraint("state IN ('waiting', 'working', 'settling', 'done', 'cancelled')", name="jobs_state"),
    Index("jobs_open", "id", postgresql_where=text("finished_at IS NULL")),
    schema=SCHEMA,
)

# The messages that a job has still to change, some thousands a row.
job_chunks = Table(
    "job_chunks",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("ids", ARRAY(BigInteger), nullable=False),
    Column("addresses", ARRAY(TID), nullable=False),
    PrimaryKeyConstraint("job_id", "number", name="job_chunks_pkey"),
    schema=SCHEMA,
)

# The service's role inserts and reads; nobody but a superuser and the owner changes it.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("action", Text, nullable=False),
    *_filter_columns(),
    Column("token_name", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=text("''::text")),
    Column("hold_id", BigInteger),
    Column("job_id", BigInteger),
    # Of a verify: the differences.
    Column("messages", BigInteger),
    Index("audit_log_verify", "id", postgresql_where=text("action = 'verify'::text")),
    schema=SCHEMA,
)

# One row where a table of somebody else is counted in place of `messages`: see sql/adopt/README.md.
adopted = Table(
    "adopted",
    metadata,
    Column("stands", Boolean, nullable=False, server_default=text("true")),
    Column("mapping", JSONB, nullable=False),
    # The function message_of as PostgreSQL showed it then: it shows other names once a column was renamed.
    Column("definition", Text, nullable=False, server_default=text("''::text")),
    PrimaryKeyConstraint("stands", name="adopted_pkey"),
    CheckConstraint("stands", name="adopted_stands"),
    schema=SCHEMA,
)

# The text of senders, accounts and campaigns that are counted by a number in its place.
keys = Table(
    "keys",
    metadata,
    Column("id", BigInteger, autoincrement=False, nullable=False),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("id", name="keys_pkey"),
    schema=SCHEMA,
)

tokens = Table(
    "tokens",
    metadata,
    Column("name", Text, primary_key=True),
    # SHA-256 of the secret; the secret itself is never stored.
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("revoked_at", DateTime(timezone=True)),
    Column("scopes", ARRAY(Text), nullable=False, server_default=text("'{stats}'::text[]")),
    # Of whom it may see the numbers, and hold, release and purge the messages; NULL: of all.
    Column("sender_ids", ARRAY(BigInteger)),
    Column("account_ids", ARRAY(BigInteger)),
    Column("expires_at", DateTime(timezone=True)),
    # Of the secret before the last rotation, valid for a while beside the new one.
    Column("former_hash", LargeBinary, unique=True),
    Column("former_until", DateTime(timezone=True)),
    # What the service reads again and again.
    Index("tokens_in_force", "name", postgresql_where=text("revoked_at IS NULL")),
    schema=SCHEMA,
)

repeatable_migrations = Table(
    "repeatable_migrations",
    metadata,
    # Files of functions, triggers and rights that `migrate` puts into place when their text has changed.
    Column("name", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("applied_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    schema=SCHEMA,
)
