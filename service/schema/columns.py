"""The types and columns that several of our tables have, and the metadata of all tables."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType

# The schema of all our objects except `messages` and its enumeration.
SCHEMA = "queuestats"

metadata = sa.MetaData(schema=SCHEMA)

message_status = ENUM("new", "proc", "retry", "hold", name="message_status")
# The grouping sets of counters: the eight combinations of account, campaign and ISP.
grouping_set = ENUM(
    *("total", "account", "campaign", "isp"),
    *("account_campaign", "account_isp", "campaign_isp", "account_campaign_isp"),
    name="grouping_set",
    metadata=metadata,
)


class SystemType(UserDefinedType[str]):
    """A type of PostgreSQL that SQLAlchemy lacks: the name of the class in lower case."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        return type(self).__name__.lower()


class XID8(SystemType):
    """A 64-bit transaction id."""


class TID(SystemType):
    """The address of a row in its table."""


# Alembic's comparison reads the columns of the database.
ischema_names.update({"xid8": XID8, "tid": TID})


def key_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("account_id", sa.BigInteger, nullable=False),
        sa.Column("campaign_id", sa.BigInteger, nullable=False),
        sa.Column("isp", sa.Text(collation="C"), nullable=False),
    ]


def count_columns() -> list[sa.Column[Any]]:
    return [sa.Column(status, sa.BigInteger, nullable=False) for status in message_status.enums]


def filter_columns() -> list[sa.Column[Any]]:
    """NULL matches every message of the sender."""
    return [
        sa.Column("sender_id", sa.BigInteger, nullable=False),
        sa.Column("account_id", sa.BigInteger),
        sa.Column("campaign_id", sa.BigInteger),
        sa.Column("isp", sa.Text(collation="C")),
    ]
