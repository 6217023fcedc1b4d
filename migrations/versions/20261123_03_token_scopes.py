"""What a token may do: its scopes

Phase: expand (tokens that exist may ask for statistics, as before; the release before does not look)

Revision: 20261123_03, after 20261123_02
Written: 2026-11-23
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "20261123_03"
down_revision = "20261123_02"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A constant default: no row is rewritten.
    op.add_column(
        "tokens", sa.Column("scopes", ARRAY(sa.Text), nullable=False, server_default=sa.text("'{stats}'::text[]"))
    )


def downgrade() -> None:
    op.drop_column("tokens", "scopes")
