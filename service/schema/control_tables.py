"""The tables of hold, release and purge: see sql/control/README.md."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.schema.columns import SCHEMA, TID, XID8, filter_columns, message_status, metadata


def kind_column(name: str) -> Column[str]:
    """The kind of actor: token, command or expiry."""
    return Column(name, Text, nullable=False, server_default=text("'token'::text"))


# The active ones; what has ended stands in the audit log.
holds = Table(
    "holds",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    *filter_columns(),
    Column("reason", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    kind_column("created_by_kind"),
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
    # What the table held, an array of one text (sql/control/arrivals.sql); NULL where the release before held it.
    Column("stored_status", Text),
    PrimaryKeyConstraint("sender_id", "id", name="held_messages_pkey"),
    schema=SCHEMA,
)

# Calls of hold, release and purge that are being carried out, or were: see sql/control/README.md.
jobs = Table(
    "jobs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("action", Text, nullable=False),
    *filter_columns(),
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
    kind_column("requested_by_kind"),
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
    *filter_columns(),
    # Of the release before: who acted.
    Column("token_name", Text),
    Column("request_id", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=text("''::text")),
    Column("hold_id", BigInteger),
    Column("job_id", BigInteger),
    # Of a verify: the differences.
    Column("messages", BigInteger),
    kind_column("actor_kind"),
    Column("actor_name", Text),
    # The token that was created, rotated or revoked.
    Column("subject", Text),
    Index("audit_log_verify", "id", postgresql_where=text("action = 'verify'::text")),
    schema=SCHEMA,
)
