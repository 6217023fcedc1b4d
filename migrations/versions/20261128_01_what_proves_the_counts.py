"""The proof of the counts, the actors of the audit log, and the stored values of held messages

Phase: expand (columns with defaults, and a default; code of the release before reads and writes none of them)

`baseline.triggers` and `baseline.partitions` contain a hash for each counting trigger and each partition, of its oid
and of the version of its row in the catalog. `queuestats migrate` fills them: sql/counters/proof.sql.

`audit_log.token_name` is read if `actor_name` is NULL, and is no longer written.

Revision: 20261128_01, after 20261125_01
Written: 2026-11-28
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "20261128_01"
down_revision = "20261125_01"
branch_labels = None
depends_on = None

SCHEMA = "queuestats"
# The kind of actor: token, command or expiry.
KINDS = {"holds": "created_by_kind", "jobs": "requested_by_kind", "audit_log": "actor_kind"}


def upgrade() -> None:
    for name in ("triggers", "partitions"):
        hashes: sa.Column[list[int]] = sa.Column(
            name, ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'::bigint[]")
        )
        op.add_column("baseline", hashes, schema=SCHEMA)
    op.add_column("held_messages", sa.Column("stored_status", sa.Text), schema=SCHEMA)
    for table, column in KINDS.items():
        kind = sa.Column(column, sa.Text, nullable=False, server_default=sa.text("'token'::text"))
        op.add_column(table, kind, schema=SCHEMA)
    op.add_column("audit_log", sa.Column("actor_name", sa.Text), schema=SCHEMA)
    op.add_column("audit_log", sa.Column("subject", sa.Text), schema=SCHEMA)
    op.alter_column("audit_log", "token_name", server_default=sa.text("''::text"), schema=SCHEMA)
    op.execute("UPDATE queuestats.jobs SET requested_by_kind = 'expiry' WHERE requested_by = 'expiry'")
    op.execute("UPDATE queuestats.holds SET created_by_kind = 'command' WHERE created_by LIKE '% at the terminal'")
    op.execute("UPDATE queuestats.jobs SET requested_by_kind = 'command' WHERE requested_by LIKE '% at the terminal'")
    op.execute("UPDATE queuestats.audit_log SET actor_kind = 'command' WHERE token_name LIKE '% at the terminal'")


def downgrade() -> None:
    op.execute("UPDATE queuestats.audit_log SET token_name = actor_name WHERE actor_name IS NOT NULL")
    op.alter_column("audit_log", "token_name", server_default=None, schema=SCHEMA)
    op.drop_column("audit_log", "subject", schema=SCHEMA)
    op.drop_column("audit_log", "actor_name", schema=SCHEMA)
    for table, column in KINDS.items():
        op.drop_column(table, column, schema=SCHEMA)
    op.drop_column("held_messages", "stored_status", schema=SCHEMA)
    op.drop_column("baseline", "partitions", schema=SCHEMA)
    op.drop_column("baseline", "triggers", schema=SCHEMA)
