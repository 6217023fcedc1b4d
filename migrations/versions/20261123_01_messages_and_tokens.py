"""The queue's messages, the API tokens, and what `migrate` has installed

Phase: expand (the first revision)

Revision: 20261123_01, after nothing
Written: 2026-11-23
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ENUM, CreateEnumType, DropEnumType

revision = "20261123_01"
down_revision = None
branch_labels = None
depends_on = None

message_status = ENUM("new", "proc", "retry", "hold", name="message_status", create_type=False)


def upgrade() -> None:
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
    op.create_table(
        "tokens",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "installed",
        sa.Column("part", sa.Text, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("installed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    op.drop_table("installed")
    op.drop_table("tokens")
    op.drop_table("messages")
    op.execute(DropEnumType(message_status))
