"""The counters, the deltas that are not folded into them yet, and how far the folding has come

Phase: expand (nothing writes or reads these tables before the triggers are attached)

Revision: 20261123_02, after 20261123_01
Written: 2026-11-23
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import UserDefinedType

revision = "20261123_02"
down_revision = "20261123_01"
branch_labels = None
depends_on = None


class XID8(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        return "xid8"


def key_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("account_id", sa.BigInteger, nullable=False),
        sa.Column("campaign_id", sa.BigInteger, nullable=False),
        sa.Column("isp", sa.Text(collation="C"), nullable=False),
    ]


def count_columns() -> list[sa.Column[Any]]:
    return [sa.Column(status, sa.BigInteger, nullable=False) for status in ("new", "proc", "retry", "hold")]


def upgrade() -> None:
    op.create_table(
        "deltas",
        sa.Column("xid", XID8, nullable=False, server_default=sa.text("pg_current_xact_id()")),
        sa.Column("sender_id", sa.BigInteger, nullable=False),
        *key_columns(),
        *count_columns(),
    )
    op.create_index("deltas_sender_id_xid", "deltas", ["sender_id", "xid"])
    # For the folder alone: a predicate that is always true and that no reader repeats keeps readers off this index.
    op.create_index("deltas_xid", "deltas", ["xid"], postgresql_where=sa.text("xid >= '0'::xid8"))
    op.create_table(
        "counters",
        sa.Column("sender_id", sa.BigInteger, nullable=False),
        sa.Column("grouping", sa.SmallInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        *key_columns(),
        *count_columns(),
    )
    # Both hold every row: the predicates are always true. A statement chooses its index by repeating the predicate.
    op.create_index(
        "counters_by_account",
        "counters",
        ["sender_id", "grouping", "generation", "account_id", "campaign_id", "isp"],
        unique=True,
        postgresql_where=sa.text("account_id >= 0"),
    )
    op.create_index(
        "counters_by_isp",
        "counters",
        ["sender_id", "grouping", "generation", "isp", "campaign_id", "account_id"],
        unique=True,
        postgresql_where=sa.text("isp >= ''::text"),
    )
    op.create_table(
        "horizons",
        sa.Column("sender_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("horizon", XID8, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("written_by", XID8, nullable=False),
        sa.Column("rolled_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("sender_id", name="horizons_pkey"),
    )
    op.create_table(
        "baseline",
        sa.Column("stands", sa.Boolean, nullable=False, server_default=sa.text("true")),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("stands", name="baseline_pkey"),
        sa.CheckConstraint("stands", name="baseline_stands"),
    )
    tune()


def tune() -> None:
    """Rows here live for moments: vacuum comes early, works fast, and never cuts the table short, which would lock."""
    op.execute(
        "ALTER TABLE deltas SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,"
        " autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0,"
        " autovacuum_analyze_threshold = 10000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off)"
    )
    op.execute(
        "ALTER TABLE counters SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05,"
        " autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)"
    )
    op.execute(
        "ALTER TABLE horizons SET (fillfactor = 20, autovacuum_vacuum_scale_factor = 0,"
        " autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0)"
    )


FUNCTIONS = (
    "messages_inserted messages_updated messages_deleted messages_truncated"
    " fold rebuild audit recount pending kept unfolded grouping_of folder_lock take_folder_lock"
    " read_total read_accounts read_isps read_account_campaigns read_account_campaigns_of_isp read_campaigns"
)


def downgrade() -> None:
    # The triggers go with their functions, and what reads the tables goes with them.
    op.execute(
        "DO $$ DECLARE gone regprocedure; BEGIN"  # noqa: S608
        " FOR gone IN SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        f" AND proname = ANY (string_to_array('{FUNCTIONS}', ' '))"
        " LOOP EXECUTE format('DROP FUNCTION IF EXISTS %s CASCADE', gone); END LOOP; END $$"
    )
    op.execute("DROP AGGREGATE IF EXISTS counter_sum (bigint) CASCADE")
    op.execute("DROP VIEW IF EXISTS believed_horizons")
    for table in ("baseline", "horizons", "counters", "deltas"):
        op.execute(f"DROP TABLE {table} CASCADE")
    op.execute("DELETE FROM installed")
