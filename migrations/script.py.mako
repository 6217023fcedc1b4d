"""${message}

Phase: expand | contract (say which, and why code of the release before still works on this schema)

Revision: ${up_revision}, after ${down_revision or "nothing"}
Written: ${create_date.date()}

Rules
- One transaction, lock_timeout 3 s, statement_timeout 10 min. Raise them with SET LOCAL only, and say why.
- Nothing here reads a file or imports code that will change later: a revision is frozen.
- Functions, triggers and rights are in sql/; `migrate` runs these files after the last revision.
- Drop a column in two releases, rename in three. Add a NOT NULL with a validated CHECK.
- An index on a large table is built CONCURRENTLY, in an autocommit block; set and reset timeouts around it.
- Every upgrade has its downgrade, and tests/db runs up, down, up.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
