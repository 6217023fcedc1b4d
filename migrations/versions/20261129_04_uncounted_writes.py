"""The transactions that wrote to an adopted table while its mapping could not be evaluated

Phase: expand (a new table; code of the release before does not read it)

Revision: 20261129_04, after 20261129_03
Written: 2026-11-29
"""

from alembic import op

revision = "20261129_04"
down_revision = "20261129_03"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE queuestats.uncounted_writes"
        " (xid xid8 NOT NULL, CONSTRAINT uncounted_writes_pkey PRIMARY KEY (xid))"
    )


def downgrade() -> None:
    op.drop_table("uncounted_writes", schema="queuestats")
