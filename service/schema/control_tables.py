"""The tables of hold, release and purge: see sql/control/README.md."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from service.schema.columns import TID, XID8, filter_columns, message_status, metadata


def kind_column(name: str) -> sa.Column[str]:
    """The kind of actor: token, command or expiry."""
    return sa.Column(name, sa.Text, nullable=False, server_default=sa.text("'token'::text"))


# The active ones; what has ended stands in the audit log.
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
    sa.Index("holds_sender_id", "sender_id"),
)

# What a held message is given back when it is released.
held_messages = sa.Table(
    "held_messages",
    metadata,
    sa.Column("sender_id", sa.BigInteger, nullable=False),
    sa.Column("id", sa.BigInteger, nullable=False),
    sa.Column("former_status", message_status, nullable=False),
    # What the table held, an array of one text (sql/control/arrivals.sql); NULL where the release before held it.
    sa.Column("stored_status", sa.Text),
    sa.PrimaryKeyConstraint("sender_id", "id", name="held_messages_pkey"),
)

# Calls of hold, release and purge that are being carried out, or were: see sql/control/README.md.
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
    sa.CheckConstraint("action IN ('hold', 'release', 'purge')", name="jobs_action"),
    sa.CheckConstraint("state IN ('waiting', 'working', 'settling', 'done', 'cancelled')", name="jobs_state"),
    sa.Index("jobs_open", "id", postgresql_where=sa.text("finished_at IS NULL")),
)

# The messages that a job has still to change, some thousands a row.
job_chunks = sa.Table(
    "job_chunks",
    metadata,
    sa.Column("job_id", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("ids", ARRAY(sa.BigInteger), nullable=False),
    sa.Column("addresses", ARRAY(TID), nullable=False),
    sa.PrimaryKeyConstraint("job_id", "number", name="job_chunks_pkey"),
)

# The service's role inserts and reads, and deletes what is old by sql/control/prune.sql. The owner alone changes it.
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("action", sa.Text, nullable=False),
    *filter_columns(),
    # Of the release before: who acted.
    sa.Column("token_name", sa.Text, nullable=False, server_default=sa.text("''::text")),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, server_default=sa.text("''::text")),
    sa.Column("hold_id", sa.BigInteger),
    sa.Column("job_id", sa.BigInteger),
    # Of a verify: the differences.
    sa.Column("messages", sa.BigInteger),
    kind_column("actor_kind"),
    sa.Column("actor_name", sa.Text),
    # The token that was created, rotated or revoked.
    sa.Column("subject", sa.Text),
    sa.Index("audit_log_verify", "id", postgresql_where=sa.text("action = 'verify'::text")),
)
