"""The messages of the queue; in the schema queuestats their counters, the pending deltas, and the tokens

Phase: expand (the first revision; `migrate` attaches the triggers after it)

Extended statistics of messages: without statistics on sender, account and campaign together, the planner assumes that
they are independent. On 100,000 messages it then estimated 1 row instead of 686, and had similar errors in 20 of 28
shapes of a scan; with them, no relevant estimate was wrong by a factor of ten. The cost is a sample of 150,000
messages instead of PostgreSQL's default of 30,000.

Revision: 20261125_01, after nothing
Written: 2026-11-25
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, ENUM, JSONB, OID, CreateEnumType, DropEnumType
from sqlalchemy.types import UserDefinedType

revision = "20261125_01"
down_revision = None
branch_labels = None
depends_on = None

message_status = ENUM("new", "proc", "retry", "hold", name="message_status", create_type=False)
grouping_set = ENUM(
    *("total", "account", "campaign", "isp"),
    *("account_campaign", "account_isp", "campaign_isp", "account_campaign_isp"),
    name="grouping_set",
    schema="queuestats",
    create_type=False,
)


class XID8(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        return "xid8"


class TID(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        return "tid"


def key_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("account_id", sa.BigInteger, nullable=False),
        sa.Column("campaign_id", sa.BigInteger, nullable=False),
        sa.Column("isp", sa.Text(collation="C"), nullable=False),
    ]


def count_columns() -> list[sa.Column[Any]]:
    return [sa.Column(status, sa.BigInteger, nullable=False) for status in ("new", "proc", "retry", "hold")]


def upgrade() -> None:
    create_messages()
    create_counters()
    tune()
    create_control()
    create_adopted()
    op.create_table(
        "tokens",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("scopes", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{stats}'::text[]")),
        sa.Column("sender_ids", ARRAY(sa.BigInteger)),
        sa.Column("account_ids", ARRAY(sa.BigInteger)),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("former_hash", sa.LargeBinary, unique=True),
        sa.Column("former_until", sa.DateTime(timezone=True)),
        schema="queuestats",
    )
    op.create_index(
        "tokens_in_force", "tokens", ["name"], schema="queuestats", postgresql_where=sa.text("revoked_at IS NULL")
    )
    op.create_table(
        "repeatable_migrations",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="queuestats",
    )


def create_adopted() -> None:
    op.create_table(
        "adopted",
        sa.Column("stands", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("mapping", JSONB, nullable=False),
        sa.Column("definition", sa.Text, nullable=False, server_default=sa.text("''::text")),
        sa.PrimaryKeyConstraint("stands", name="adopted_pkey"),
        sa.CheckConstraint("stands", name="adopted_stands"),
        schema="queuestats",
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="keys_pkey"),
        schema="queuestats",
    )


def create_messages() -> None:
    op.execute(CreateEnumType(message_status))
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger, sa.Identity(always=False), nullable=False),
        sa.Column("sender_id", sa.BigInteger, nullable=False),
        sa.Column("account_id", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("campaign_id", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("isp", sa.Text(collation="C"), nullable=False, server_default=sa.text("''")),
        sa.Column("status", message_status, nullable=False, server_default=sa.text("'new'")),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("id", "sender_id", name="messages_pkey"),
        sa.CheckConstraint("sender_id > 0", name="messages_sender_id_positive"),
        sa.CheckConstraint("account_id >= 0", name="messages_account_id_not_negative"),
        sa.CheckConstraint("campaign_id >= 0", name="messages_campaign_id_not_negative"),
        sa.CheckConstraint("octet_length(isp) <= 255", name="messages_isp_short"),
    )
    op.create_index("messages_sender_id_status", "messages", ["sender_id", "status"])
    op.execute("ALTER TABLE messages ALTER sender_id SET STATISTICS 500")
    op.execute(
        "CREATE STATISTICS messages_keys (dependencies, ndistinct) ON sender_id, account_id, campaign_id FROM messages"
    )


def create_counters() -> None:
    op.execute(CreateEnumType(grouping_set))
    op.create_table(
        "deltas",
        sa.Column("xid", XID8, nullable=False, server_default=sa.text("pg_current_xact_id()")),
        sa.Column("sender_id", sa.BigInteger, nullable=False),
        *key_columns(),
        *count_columns(),
        schema="queuestats",
    )
    op.create_index("deltas_sender_id_xid", "deltas", ["sender_id", "xid"], schema="queuestats")
    # Only for the fold: readers do not repeat the predicate, which is always true, so they can't use this index.
    op.create_index("deltas_xid", "deltas", ["xid"], postgresql_where=sa.text("xid >= '0'::xid8"), schema="queuestats")
    op.create_table(
        "counters",
        sa.Column("sender_id", sa.BigInteger, nullable=False),
        sa.Column("grouping_set", grouping_set, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        *key_columns(),
        *count_columns(),
        schema="queuestats",
    )
    # Both contain every row: the predicates are always true. A statement selects its index by repeating the predicate.
    op.create_index(
        "counters_by_account",
        "counters",
        ["sender_id", "grouping_set", "epoch", "account_id", "campaign_id", "isp"],
        unique=True,
        postgresql_where=sa.text("account_id >= 0"),
        schema="queuestats",
    )
    op.create_index(
        "counters_by_isp",
        "counters",
        ["sender_id", "grouping_set", "epoch", "isp", "campaign_id", "account_id"],
        unique=True,
        postgresql_where=sa.text("isp >= ''::text"),
        schema="queuestats",
    )
    create_sender_totals()
    op.create_table(
        "watermarks",
        sa.Column("sender_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("watermark", XID8, nullable=False),
        sa.Column("running", ARRAY(XID8), nullable=False, server_default=sa.text("'{}'::xid8[]")),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("written_by", XID8, nullable=False),
        sa.Column("compacted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("sender_id", name="watermarks_pkey"),
        schema="queuestats",
    )
    # Neither has a primary key. A publication of all tables must not stop their updates and deletes.
    op.execute("ALTER TABLE queuestats.deltas REPLICA IDENTITY FULL")
    op.execute("ALTER TABLE queuestats.counters REPLICA IDENTITY FULL")
    op.create_table("fold_lock", sa.Column("never", sa.Boolean), schema="queuestats")
    op.create_table(
        "baseline",
        sa.Column("stands", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("parts", ARRAY(OID), nullable=False, server_default=sa.text("'{}'::oid[]")),
        sa.PrimaryKeyConstraint("stands", name="baseline_pkey"),
        sa.CheckConstraint("stands", name="baseline_stands"),
        schema="queuestats",
    )


def create_sender_totals() -> None:
    op.create_table(
        "sender_totals",
        sa.Column("sender_id", sa.BigInteger, autoincrement=False, nullable=False),
        *count_columns(),
        sa.Column("total", sa.BigInteger, sa.Computed("new + proc + retry + hold"), nullable=False),
        sa.PrimaryKeyConstraint("sender_id", name="sender_totals_pkey"),
        schema="queuestats",
    )
    for count in ("new", "proc", "retry", "hold", "total"):
        op.create_index(
            f"sender_totals_by_{count}",
            "sender_totals",
            [sa.text(f"{count} DESC"), "sender_id"],
            postgresql_where=sa.text(f"{count} > 0"),
            schema="queuestats",
        )


def filter_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("sender_id", sa.BigInteger, nullable=False),
        sa.Column("account_id", sa.BigInteger),
        sa.Column("campaign_id", sa.BigInteger),
        sa.Column("isp", sa.Text(collation="C")),
    ]


def create_control() -> None:
    op.create_table(
        "holds",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        *filter_columns(),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        schema="queuestats",
    )
    op.create_index("holds_sender_id", "holds", ["sender_id"], schema="queuestats")
    op.create_table(
        "held_messages",
        sa.Column("sender_id", sa.BigInteger, nullable=False),
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("former_status", message_status, nullable=False),
        sa.PrimaryKeyConstraint("sender_id", "id", name="held_messages_pkey"),
        schema="queuestats",
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("action", sa.Text, nullable=False),
        *filter_columns(),
        sa.Column("hold_id", sa.BigInteger),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'waiting'::text")),
        sa.Column("matched", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("changed", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("settles_at", XID8),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("action IN ('hold', 'release', 'purge')", name="jobs_action"),
        sa.CheckConstraint(
            "state IN ('waiting', 'working', 'settling', 'done', 'cancelled')",
            name="jobs_state",
        ),
        schema="queuestats",
    )
    op.create_index("jobs_open", "jobs", ["id"], schema="queuestats", postgresql_where=sa.text("finished_at IS NULL"))
    op.create_table(
        "job_chunks",
        sa.Column("job_id", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("ids", ARRAY(sa.BigInteger), nullable=False),
        sa.Column("addresses", ARRAY(TID), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number", name="job_chunks_pkey"),
        schema="queuestats",
    )
    # The rows exist for seconds, and compressing them takes twice as long as collecting them.
    op.execute("ALTER TABLE queuestats.job_chunks ALTER ids SET STORAGE EXTERNAL, ALTER addresses SET STORAGE EXTERNAL")
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("action", sa.Text, nullable=False),
        *filter_columns(),
        sa.Column("token_name", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=sa.text("''::text")),
        sa.Column("hold_id", sa.BigInteger),
        sa.Column("job_id", sa.BigInteger),
        sa.Column("messages", sa.BigInteger),
        schema="queuestats",
    )
    op.create_index(
        "audit_log_verify",
        "audit_log",
        ["id"],
        schema="queuestats",
        postgresql_where=sa.text("action = 'verify'::text"),
    )


def tune() -> None:
    """The rows exist only briefly: vacuum starts early, runs fast, and never truncates the table, which locks it."""
    op.execute(
        "ALTER TABLE queuestats.deltas SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,"
        " autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0,"
        " autovacuum_analyze_threshold = 10000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off)"
    )
    op.execute(
        "ALTER TABLE queuestats.counters SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05,"
        " autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)"
    )
    op.execute(
        "ALTER TABLE queuestats.sender_totals SET (autovacuum_vacuum_scale_factor = 0.05,"
        " autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)"
    )
    op.execute(
        "ALTER TABLE queuestats.watermarks SET (fillfactor = 20, autovacuum_vacuum_scale_factor = 0,"
        " autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0)"
    )


def downgrade() -> None:
    # Dropping the functions drops the triggers, and dropping the tables drops the objects that read them.
    op.execute(
        "DO $$ DECLARE gone regprocedure; BEGIN"
        " FOR gone IN SELECT oid FROM pg_proc WHERE pronamespace = 'queuestats'::regnamespace"
        " LOOP EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', gone); END LOOP; END $$"
    )
    op.execute("DROP VIEW IF EXISTS queuestats.queued_messages, queuestats.trusted_watermarks CASCADE")
    tables = (
        "holds",
        "held_messages",
        "jobs",
        "job_chunks",
        "audit_log",
        "adopted",
        "keys",
        "sender_totals",
        "repeatable_migrations",
        "tokens",
        "baseline",
        "fold_lock",
        "watermarks",
        "counters",
    )
    for table in (*tables, "deltas"):
        op.execute(f"DROP TABLE queuestats.{table} CASCADE")
    op.execute(DropEnumType(grouping_set))
    op.drop_table("messages")
    op.execute(DropEnumType(message_status))
