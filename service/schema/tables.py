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
    # 0 stands for mail outside any account or campaign; requests cannot contain a negative id.
    sa.Column("account_id", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("campaign_id", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    # "C" sorts by bytes, as documented for responses, and limits the size of an index entry.
    sa.Column("isp", sa.Text(collation="C"), nullable=False, server_default=sa.text("''")),
    sa.Column("status", message_status, nullable=False, server_default=sa.text("'new'")),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("recipient", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    # `id` first, so that `WHERE id = 1` is a point look-up.
    sa.PrimaryKeyConstraint("id", "sender_id", name="messages_pkey"),
    sa.CheckConstraint("sender_id > 0", name="messages_sender_id_positive"),
    sa.CheckConstraint("account_id >= 0", name="messages_account_id_not_negative"),
    sa.CheckConstraint("campaign_id >= 0", name="messages_campaign_id_not_negative"),
    sa.CheckConstraint("octet_length(isp) <= 255", name="messages_isp_short"),
    # The oldest message of a status is its first entry.
    sa.Index("messages_by_arrival", "sender_id", "status", "created_at"),
    schema=sa.BLANK_SCHEMA,
)

# The changes of a key's counts by a statement, written in the writer's own transaction; see sql/counters/README.md.
deltas = sa.Table(
    "deltas",
    metadata,
    sa.Column("xid", XID8, nullable=False, server_default=sa.text("pg_current_xact_id()")),
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    *key_columns(),
    *count_columns(),
    # The earliest arrival of the messages that the statement brought; NULL if it brought none. `came`: the statuses of
    # messages that an update brought, whose counts may cancel out, as bits in the order of the enumeration.
    sa.Column("oldest", sa.DateTime(timezone=True)),
    sa.Column("came", sa.SmallInteger),
    # The change of the sender's total by the statement; NULL: the same as the change of the key. See record_update.
    sa.Column("net", sa.BigInteger),
    sa.Index("deltas_sender_id_xid", "sender_id", "xid"),
    # Only for the fold: readers do not repeat the predicate, which is always true, so they can't use this index.
    sa.Index("deltas_xid", "xid", postgresql_where=sa.text("xid >= '0'::xid8")),
)

# The sums of the folded deltas, by every grouping set.
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    sa.Column("grouping_set", grouping_set, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    *key_columns(),
    *count_columns(),
    # Both contain every row: the predicates are always true. A statement selects its index by repeating the predicate.
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

# A copy of the counters of grouping set total and epoch 0, indexed by each count: for the largest senders.
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

# For each status of a sender, a time that none of its messages precedes; see sql/counters/bounds.sql. The newest row is
# valid. Rows are appended, so that a reader never visits rows that an old snapshot keeps. The row of sender 0 exists
# once every writer records arrivals.
bounds = sa.Table(
    "bounds",
    metadata,
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    *(sa.Column(status, sa.DateTime(timezone=True), nullable=False) for status in message_status.enums),
    sa.PrimaryKeyConstraint("sender_id", "number", name="bounds_pkey"),
)
# For the senders with the oldest messages. The index of a status omits senders without messages of this status.
_orders = {status: status for status in message_status.enums} | {"total": "LEAST(new, proc, retry, hold)"}
for _name, _order in _orders.items():
    sa.Index(
        f"bounds_by_{_name}",
        sa.text(_order),
        bounds.c.sender_id,
        postgresql_where=sa.text(f"{_order} < 'infinity'::timestamp with time zone"),
    )

# The progress of the folds of a hot sender.
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

# For its lock: see sql/counters/lock.sql. It has a row only during a TRUNCATE of messages.
fold_lock = sa.Table("fold_lock", metadata, sa.Column("never", sa.Boolean))

# One row once the counters include all messages; until then scans answer.
baseline = sa.Table(
    "baseline",
    metadata,
    sa.Column("stands", sa.Boolean, nullable=False, server_default=sa.text("true")),
    sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    # Of the previous release.
    sa.Column("parts", ARRAY(OID), nullable=False, server_default=sa.text("'{}'::oid[]")),
    # A hash for each trigger that counts and each partition that is counted: sql/counters/proof.sql.
    sa.Column("triggers", ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'::bigint[]")),
    sa.Column("partitions", ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'::bigint[]")),
    # The time since which counts are known to be wrong: see drift.
    sa.Column("doubted_at", sa.DateTime(timezone=True)),
    sa.PrimaryKeyConstraint("stands", name="baseline_pkey"),
    sa.CheckConstraint("stands", name="baseline_stands"),
)

# Senders for which a recount has found wrong counts, until they are recounted.
drift = sa.Table(
    "drift",
    metadata,
    sa.Column("sender_id", sa.BigInteger, autoincrement=False, nullable=False),
    sa.Column("differences", sa.BigInteger, nullable=False),
    sa.Column("found_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.PrimaryKeyConstraint("sender_id", name="drift_pkey"),
)

# The background tasks of the service: fold, jobs, proof.
background_tasks = sa.Table(
    "background_tasks",
    metadata,
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("due_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("succeeded_at", sa.DateTime(timezone=True)),
    sa.Column("failed_at", sa.DateTime(timezone=True)),
    # NULL after the next success.
    sa.Column("failing_since", sa.DateTime(timezone=True)),
    sa.Column("error", sa.Text),
    sa.PrimaryKeyConstraint("name", name="background_tasks_pkey"),
)

# The objects that `migrate` has created in this schema: catalog_objects() of sql/counters/health.sql at that time.
objects = sa.Table(
    "objects",
    metadata,
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("kind", "name", name="objects_pkey"),
)

# One row if an adopted table is counted in place of `messages`: see sql/adopt/README.md.
adopted = sa.Table(
    "adopted",
    metadata,
    sa.Column("stands", sa.Boolean, nullable=False, server_default=sa.text("true")),
    sa.Column("mapping", JSONB, nullable=False),
    # The definition of the view queued_messages at that time: after a rename of a column it has other names.
    sa.Column("definition", sa.Text, nullable=False, server_default=sa.text("''::text")),
    sa.PrimaryKeyConstraint("stands", name="adopted_pkey"),
    sa.CheckConstraint("stands", name="adopted_stands"),
)

# The texts of senders, accounts and campaigns that are counted by numbers.
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.BigInteger, autoincrement=False, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("id", name="keys_pkey"),
)

# Transactions that wrote to an adopted table while its mapping could not be evaluated, so the counts lack these.
uncounted_writes = sa.Table(
    "uncounted_writes",
    metadata,
    sa.Column("xid", XID8, nullable=False),
    sa.PrimaryKeyConstraint("xid", name="uncounted_writes_pkey"),
)

# One row: the contract of the functions; see service/schema/contract.py.
contract = sa.Table(
    "contract",
    metadata,
    # No defaults, because `newer_columns` looks for columns with a default in every shard, and shards lack this table.
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
    # SHA-256 of the secret, which is never stored.
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("revoked_at", sa.DateTime(timezone=True)),
    sa.Column("scopes", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{stats}'::text[]")),
    # The senders and accounts to which the token is limited; NULL: no limit.
    sa.Column("sender_ids", ARRAY(sa.BigInteger)),
    sa.Column("account_ids", ARRAY(sa.BigInteger)),
    sa.Column("expires_at", sa.DateTime(timezone=True)),
    # The hash of the secret before the last rotation, which is valid for a while.
    sa.Column("former_hash", sa.LargeBinary, unique=True),
    sa.Column("former_until", sa.DateTime(timezone=True)),
    # The tokens that the service reads repeatedly.
    sa.Index("tokens_in_force", "name", postgresql_where=sa.text("revoked_at IS NULL")),
)

repeatable_migrations = sa.Table(
    "repeatable_migrations",
    metadata,
    # Files of functions, triggers and rights that `migrate` runs again when their text has changed.
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)
