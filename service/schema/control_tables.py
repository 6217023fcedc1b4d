"""The tables of hold, release and purge: see sql/control/README.md."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from service.schema.columns import TID, XID8, filter_columns, message_status, metadata


def kind_column(name: str) -> sa.Column[str]:
    """The kind of actor: token, command or expiry."""
    return sa.Column(name, sa.Text, nullable=False, server_default=sa.text("'token'::text"))


# Active holds; ended holds are in the audit log.
holds = sa.Table(
    "holds",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    *filter_columns(),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", sa.DateTime(timezone=True)),
    kind_column("created_by_kind"),
    # The limits of its maker's token; NULL: no limit.
    sa.Column("sender_limits", ARRAY(sa.BigInteger)),
    sa.Column("account_limits", ARRAY(sa.BigInteger)),
    sa.Index("holds_sender_id", "sender_id"),
    # With this index holds_of() finds the holds that match a message, with any number of other holds.
    sa.Index("holds_filter", sa.text("hash_record_extended(ROW(sender_id, account_id, campaign_id, isp), 0::bigint)")),
)

# The former values of held messages, which a release restores.
held_messages = sa.Table(
    "held_messages",
    metadata,
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    sa.Column("id", sa.BigInteger, nullable=False),
    sa.Column("former_status", message_status, nullable=False),
    # The former value, an array of one text (sql/control/arrivals.sql); NULL if a previous release held the message.
    sa.Column("stored_status", sa.Text),
    # The hold of the message, active or ended. NULL if a former release held it, and no active hold matched.
    sa.Column("hold_id", sa.BigInteger),
    sa.PrimaryKeyConstraint("sender_id", "id", name="held_messages_pkey"),
    sa.Index("held_messages_hold", "hold_id", postgresql_where=sa.text("hold_id IS NOT NULL")),
)

# Calls of hold, release and purge, open or finished: see sql/control/README.md.
jobs = sa.Table(
    "jobs",
    metadata,
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
    # Transactions below it may not have seen the hold, or its end.
    sa.Column("settles_at", XID8),
    sa.Column("finished_at", sa.DateTime(timezone=True)),
    kind_column("requested_by_kind"),
    # The holds that a release has ended.
    sa.Column("ended_holds", ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'::bigint[]")),
    # The limits of the token, and the messages and holds that were left because the token may not end the holds.
    sa.Column("sender_limits", ARRAY(sa.BigInteger)),
    sa.Column("account_limits", ARRAY(sa.BigInteger)),
    sa.Column("left_holds", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("left_messages", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    # Until this time the job is skipped.
    sa.Column("run_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("stepped_at", sa.DateTime(timezone=True)),
    # Consecutive steps that ended in an error; the first error; the messages that could not be changed.
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("error", sa.Text),
    sa.Column("failed", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    # The cause of a wait, and its start; while settling, the transactions by their names in pg_locks.
    sa.Column("waits_for", sa.Text),
    sa.Column("waits_since", sa.DateTime(timezone=True)),
    sa.Column("blockers", ARRAY(sa.Text)),
    # In another cluster, where transaction ids are not valid, it is not that of the row.
    sa.Column("written_by", XID8, server_default=sa.text("pg_current_xact_id()")),
    sa.CheckConstraint("action IN ('hold', 'release', 'purge')", name="jobs_action"),
    sa.CheckConstraint("state IN ('waiting', 'working', 'settling', 'done', 'failed', 'cancelled')", name="jobs_state"),
    sa.Index("jobs_open", "id", postgresql_where=sa.text("finished_at IS NULL")),
    sa.Index("jobs_sender_id", "sender_id", "id"),
)

# The messages that a job has yet to change, some thousands per row.
job_chunks = sa.Table(
    "job_chunks",
    metadata,
    sa.Column("job_id", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("ids", ARRAY(sa.BigInteger), nullable=False),
    sa.Column("addresses", ARRAY(TID), nullable=False),
    sa.PrimaryKeyConstraint("job_id", "number", name="job_chunks_pkey"),
)

# The service's role inserts and reads, and deletes old rows by sql/control/prune.sql. Only the owner can update it.
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("action", sa.Text, nullable=False),
    *filter_columns(),
    # The actor, for the previous release.
    sa.Column("token_name", sa.Text, nullable=False, server_default=sa.text("''::text")),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, server_default=sa.text("''::text")),
    sa.Column("hold_id", sa.BigInteger),
    sa.Column("job_id", sa.BigInteger),
    # For a verify: the differences.
    sa.Column("messages", sa.BigInteger),
    kind_column("actor_kind"),
    sa.Column("actor_name", sa.Text),
    # The token that was created, rotated or revoked.
    sa.Column("subject", sa.Text),
    # The holds that a release has ended.
    sa.Column("hold_ids", ARRAY(sa.BigInteger)),
    sa.Index("audit_log_sender_id", "sender_id", "id"),
    sa.Index("audit_log_verify", "id", postgresql_where=sa.text("action = 'verify'::text")),
)
