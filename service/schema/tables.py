"""The schema as SQLAlchemy knows it; Alembic's autogenerate compares it with the migrated database.

Every primary key and unique constraint of a sender's data holds `sender_id`: the tables can be distributed by it.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, OID

from service.schema import control_tables, history_tables
from service.schema.columns import SCHEMA, XID8, count_columns, grouping_set, key_columns, message_status, metadata

__all__ = ["SCHEMA", "control_tables", "history_tables", "metadata"]

messages = sa.Table(
    "messages",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=False), nullable=False),
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    # 0 stands for mail outside any account or campaign; the wire cannot ask for a negative id.
    sa.Column("account_id", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("campaign_id", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    # "C" sorts by the bytes, as the wire promises, and bounds what an index entry can take.
    sa.Column("isp", sa.Text(collation="C"), nullable=False, server_default=sa.text("''")),
    sa.Column("status", message_status, nullable=False, server_default=sa.text("'new'")),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("recipient", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    # `id` first: `WHERE id = 1` stays a point look-up.
    sa.PrimaryKeyConstraint("id", "sender_id", name="messages_pkey"),
    sa.CheckConstraint("sender_id > 0", name="messages_sender_id_positive"),
    sa.CheckConstraint("account_id >= 0", name="messages_account_id_not_negative"),
    sa.CheckConstraint("campaign_id >= 0", name="messages_campaign_id_not_negative"),
    sa.CheckConstraint("octet_length(isp) <= 255", name="messages_isp_short"),
    # The oldest message of a status is its first entry.
    sa.Index("messages_by_arrival", "sender_id", "status", "created_at"),
    schema=sa.BLANK_SCHEMA,
)

# By how much a statement changed a key's counts, written in the writer's own transaction; see sql/counters/README.md.
deltas = sa.Table(
    "deltas",
    metadata,
    sa.Column("xid", XID8, nullable=False, server_default=sa.text("pg_current_xact_id()")),
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    *key_columns(),
    *count_columns(),
    # The least time of arrival of what the statement brought; NULL where it brought nothing. `came`: the statuses of
    # what an update brought, whose counts may cancel out: bits in the order of the enumeration.
    sa.Column("oldest", sa.DateTime(timezone=True)),
    sa.Column("came", sa.SmallInteger),
    # The change of the sender's total by the statement; NULL: the same as the change of the key. See record_update.
    sa.Column("net", sa.BigInteger),
    sa.Index("deltas_sender_id_xid", "sender_id", "xid"),
    # For the folder alone: a predicate that is always true and that no reader repeats keeps readers off this index.
    sa.Index("deltas_xid", "xid", postgresql_where=sa.text("xid >= '0'::xid8")),
)

# What the folded deltas add up to, by every grouping set.
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    sa.Column("grouping_set", grouping_set, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    *key_columns(),
    *count_columns(),
    # Both hold every row: the predicates are always true. A statement chooses its index by repeating the predicate.
    sa.Index(
        "counters_by_account",
        *("sender_id", "grouping_set", "epoch", "account_id", "campaign_id", "isp"),
        unique=True,
        postgresql_where=sa.text("account_id >= 0"),
    ),
    sa.Index(
        "counters_by_isp",
        *("sender_id", "grouping_set", "epoch", "isp", "campaign_id", "account_id"),
        unique=True,
        postgresql_where=sa.text("isp >= ''::text"),
    ),
)

# The counters of grouping set total and epoch 0 once more, in the order of each count: for the largest senders.
sender_totals = sa.Table(
    "sender_totals",
    metadata,
    sa.Column("sender_id", sa.BigInteger, autoincrement=False, nullable=False),
    *count_columns(),
    sa.Column("total", sa.BigInteger, sa.Computed("new + proc + retry + hold"), nullable=False),
    sa.PrimaryKeyConstraint("sender_id", name="sender_totals_pkey"),
)
for _count in (*message_status.enums, "total"):
    sa.Index(
        f"sender_totals_by_{_count}",
        sender_totals.c[_count].desc(),
        sender_totals.c.sender_id,
        postgresql_where=sender_totals.c[_count] > 0,
    )

# For each status of a sender, a time that none of its messages is older than; see sql/counters/bounds.sql. The newest
# row counts: it is appended, so that a reader never visits what an old snapshot keeps. That of sender 0 is there once
# every writer records arrivals.
bounds = sa.Table(
    "bounds",
    metadata,
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    *(sa.Column(status, sa.DateTime(timezone=True), nullable=False) for status in message_status.enums),
    sa.PrimaryKeyConstraint("sender_id", "number", name="bounds_pkey"),
)
# For the senders with the oldest messages. The index of a status leaves out senders without messages of this status.
_orders = {status: status for status in message_status.enums} | {"total": "LEAST(new, proc, retry, hold)"}
for _name, _order in _orders.items():
    sa.Index(
        f"bounds_by_{_name}",
        sa.text(_order),
        bounds.c.sender_id,
        postgresql_where=sa.text(f"{_order} < 'infinity'::timestamp with time zone"),
    )

# How far the folding of a busy sender has come.
watermarks = sa.Table(
    "watermarks",
    metadata,
    sa.Column("sender_id", sa.BigInteger, autoincrement=False, nullable=False),
    sa.Column("watermark", XID8, nullable=False),
    # Transactions below it that had not ended when it was set.
    sa.Column("running", ARRAY(XID8), nullable=False, server_default=sa.text("'{}'::xid8[]")),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("written_by", XID8, nullable=False),
    sa.Column("compacted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.PrimaryKeyConstraint("sender_id", name="watermarks_pkey"),
)

# For its lock: see sql/counters/lock.sql; a row in it, for a moment, is a TRUNCATE of messages that is not over yet.
fold_lock = sa.Table("fold_lock", metadata, sa.Column("never", sa.Boolean))

# One row once the counters hold all messages; until then the scan answers.
baseline = sa.Table(
    "baseline",
    metadata,
    sa.Column("stands", sa.Boolean, nullable=False, server_default=sa.text("true")),
    sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    # Of the release before.
    sa.Column("parts", ARRAY(OID), nullable=False, server_default=sa.text("'{}'::oid[]")),
    # A hash for each trigger that counts and each partition that is counted: sql/counters/proof.sql.
    sa.Column("triggers", ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'::bigint[]")),
    sa.Column("partitions", ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'::bigint[]")),
    # Since when counts are known to be wrong: see drift.
    sa.Column("doubted_at", sa.DateTime(timezone=True)),
    sa.PrimaryKeyConstraint("stands", name="baseline_pkey"),
    sa.CheckConstraint("stands", name="baseline_stands"),
)

# Senders whose counts a recount has found to be wrong, until they are counted anew.
drift = sa.Table(
    "drift",
    metadata,
    sa.Column("sender_id", sa.BigInteger, autoincrement=False, nullable=False),
    sa.Column("differences", sa.BigInteger, nullable=False),
    sa.Column("found_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.PrimaryKeyConstraint("sender_id", name="drift_pkey"),
)

# What the service does in the background: fold, jobs, proof.
background_tasks = sa.Table(
    "background_tasks",
    metadata,
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("due_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("succeeded_at", sa.DateTime(timezone=True)),
    sa.Column("failed_at", sa.DateTime(timezone=True)),
    # NULL once it has succeeded again.
    sa.Column("failing_since", sa.DateTime(timezone=True)),
    sa.Column("error", sa.Text),
    sa.PrimaryKeyConstraint("name", name="background_tasks_pkey"),
)

# What `migrate` has made in this schema: catalog_objects() of sql/counters/health.sql at that time.
objects = sa.Table(
    "objects",
    metadata,
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("kind", "name", name="objects_pkey"),
)

# One row where a table of somebody else is counted in place of `messages`: see sql/adopt/README.md.
adopted = sa.Table(
    "adopted",
    metadata,
    sa.Column("stands", sa.Boolean, nullable=False, server_default=sa.text("true")),
    sa.Column("mapping", JSONB, nullable=False),
    # The view queued_messages as PostgreSQL showed it then: it shows other names once a column was renamed.
    sa.Column("definition", sa.Text, nullable=False, server_default=sa.text("''::text")),
    sa.PrimaryKeyConstraint("stands", name="adopted_pkey"),
    sa.CheckConstraint("stands", name="adopted_stands"),
)

# The text of senders, accounts and campaigns that are counted by a number in its place.
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.BigInteger, autoincrement=False, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("id", name="keys_pkey"),
)

# Transactions that wrote to an adopted table while its mapping could not be evaluated. The counts lack what they wrote.
uncounted_writes = sa.Table(
    "uncounted_writes",
    metadata,
    sa.Column("xid", XID8, nullable=False),
    sa.PrimaryKeyConstraint("xid", name="uncounted_writes_pkey"),
)

# One row: which services the functions serve; see service/schema/contract.py.
contract = sa.Table(
    "contract",
    metadata,
    # No defaults: `newer_columns` looks for columns with one in every shard, and a shard has no such table.
    sa.Column("stands", sa.Boolean, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("oldest", sa.Integer, nullable=False),
    sa.PrimaryKeyConstraint("stands", name="contract_pkey"),
    sa.CheckConstraint("stands", name="contract_stands"),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    # SHA-256 of the secret; the secret itself is never stored.
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("revoked_at", sa.DateTime(timezone=True)),
    sa.Column("scopes", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{stats}'::text[]")),
    # Of whom it may see the numbers, and hold, release and purge the messages; NULL: of all.
    sa.Column("sender_ids", ARRAY(sa.BigInteger)),
    sa.Column("account_ids", ARRAY(sa.BigInteger)),
    sa.Column("expires_at", sa.DateTime(timezone=True)),
    # Of the secret before the last rotation, valid for a while beside the new one.
    sa.Column("former_hash", sa.LargeBinary, unique=True),
    sa.Column("former_until", sa.DateTime(timezone=True)),
    # What the service reads again and again.
    sa.Index("tokens_in_force", "name", postgresql_where=sa.text("revoked_at IS NULL")),
)

repeatable_migrations = sa.Table(
    "repeatable_migrations",
    metadata,
    # Files of functions, triggers and rights that `migrate` puts into place when their text has changed.
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)
