"""The releases of the service that the functions of the database serve

Phase: expand (a new table; code of the release before does not read it)

`queuestats migrate` writes its one row: service/schema/contract.py. Without a row, the contract is 1.

Revision: 20261129_01, after 20261128_01
Written: 2026-11-29
"""

import sqlalchemy as sa
from alembic import op

revision = "20261129_01"
down_revision = "20261128_01"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contract",
        sa.Column("stands", sa.Boolean, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("oldest", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("stands", name="contract_pkey"),
        sa.CheckConstraint("stands", name="contract_stands"),
        schema="queuestats",
    )


def downgrade() -> None:
    op.drop_table("contract", schema="queuestats")
