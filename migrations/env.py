"""Runs Alembic on the connection of `queuestats migrate`, or on its own connection with the same lock and limits. Each
revision is one transaction. With --sql it uses no database, and prints the statements."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

from alembic import context
from alembic.util import CommandError as AlembicError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.schema import CreateSchema

from service.cli.options import open_database, owner_url
from service.db.statements import read_sql
from service.errors import CommandError
from service.schema.locks import LOCK_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_MINUTES, changing_schema
from service.schema.revisions import with_alembic
from service.schema.tables import SCHEMA, metadata
from service.settings import load_settings

# For the statements of --sql, which are run by hand; otherwise `changing_schema` has set them.
LIMITS = (
    f"SET statement_timeout = '{STATEMENT_TIMEOUT_MINUTES}min'",
    f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'",
)

PARTITION = re.compile(r"history_[0-9]+_[0-9]{8}")


def run(connection: Connection | None) -> None:
    """Without a connection, the SQL goes to standard output."""
    # Alembic's own table is in our schema, so the schema is created first.
    create_schema = f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"
    if connection is not None:
        for schema in (SCHEMA, schema_in_use(connection)):
            if not inspect(connection).has_schema(schema):
                connection.execute(CreateSchema(schema))
        connection.commit()
    context.configure(
        connection=connection,
        dialect_name="postgresql",
        literal_binds=connection is None,
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=is_ours,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=True,
        process_revision_directives=name_by_date,
        on_version_apply=pass_on_rights,
    )
    with context.begin_transaction():
        if connection is None:
            for statement in (*LIMITS, create_schema):
                context.execute(statement)
        context.run_migrations()


def pass_on_rights(ctx: Any, *_: Any, **__: Any) -> None:
    """In the transaction of each revision, grants new tables to the roles that read our tables."""
    if not ctx.as_sql:
        ctx.connection.exec_driver_sql(read_sql("migrate/pass_on_rights"))


def schema_in_use(connection: Connection) -> str:
    """The first schema of the search_path, which `changing_schema` has set; it may not exist yet."""
    name: str = connection.execute(text("SHOW search_path")).scalar_one()
    return name


def is_ours(name: str | None, kind: str, parents: Any) -> bool:
    """Autogenerate does not read other schemas, and not the partitions of the history, which change over time."""
    if kind == "table" and PARTITION.fullmatch(name or ""):
        return False
    return kind != "schema" or name in (None, SCHEMA)


def name_by_date(_: Any, __: Any, directives: list[Any]) -> None:
    """The name of a new revision is its day and its number on that day: 20261123_01."""
    for directive in directives:
        today = f"{datetime.now(UTC):%Y%m%d}"
        of_today = [each for each in context.script.walk_revisions() if each.revision.startswith(today)]
        directive.rev_id = f"{today}_{len(of_today) + 1:02}"


async def run_by_hand(database_url: str, messages_schema: str) -> None:
    async with changing_schema(database_url, messages_schema) as connection:
        await with_alembic(connection, run)


given = context.config.attributes.get("connection")
if given is not None or context.is_offline_mode():
    run(given)
else:
    try:
        with open_database(load_settings()) as settings:
            asyncio.run(run_by_hand(owner_url(settings), settings.messages_schema))
    except CommandError as error:
        # Alembic's own command prints an error of this class in one line.
        raise AlembicError(str(error)) from error
