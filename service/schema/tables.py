"""The schema as SQLAlchemy knows it; Alembic's autogenerate compares it with the migrated database.

Every primary key and unique constraint of a sender's data holds `sender_id`: the tables can be distributed by it.
"""

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
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, OID

from service.schema import control_tables
from service.schema.columns import SCHEMA, XID8, count_columns, grouping_set, key_columns, message_status, metadata

__all__ = ["SCHEMA", "control_tables", "metadata"]

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

# By how much a statement changed a key's counts, written in the writer's own transaction; see sql/counters/README.md.
deltas = Table(
    "deltas",
    metadata,
    Column("xid", XID8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("sender_id", BigInteger, nullable=False),
    *key_columns(),
    *count_columns(),
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
    *key_columns(),
    *count_columns(),
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
    *count_columns(),
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
    # Of the release before.
    Column("parts", ARRAY(OID), nullable=False, server_default=text("'{}'::oid[]")),
    # A hash for each trigger that counts and each partition that is counted: sql/counters/proof.sql.
    Column("triggers", ARRAY(BigInteger), nullable=False, server_default=text("'{}'::bigint[]")),
    Column("partitions", ARRAY(BigInteger), nullable=False, server_default=text("'{}'::bigint[]")),
    PrimaryKeyConstraint("stands", name="baseline_pkey"),
    CheckConstraint("stands", name="baseline_stands"),
    schema=SCHEMA,
)

# One row where a table of somebody else is counted in place of `messages`: see sql/adopt/README.md.
adopted = Table(
    "adopted",
    metadata,
    Column("stands", Boolean, nullable=False, server_default=text("true")),
    Column("mapping", JSONB, nullable=False),
    # The view queued_messages as PostgreSQL showed it then: it shows other names once a column was renamed.
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
