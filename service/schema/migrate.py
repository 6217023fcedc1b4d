"""Brings a database to the newest schema: the revisions, what has one home in `sql/`, the service's rights."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import asyncpg
import msgspec
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError as AlembicError
from sqlalchemy import Connection, StaticPool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from service.adoption.mapping import renew
from service.db.connect import fetch
from service.errors import CommandError
from service.resources import migrations_path
from service.schema.files import Adopted, CountedTable, Parts
from service.schema.locks import changing_schema, trying_for_lock
from service.schema.roles import grant, login
from service.schema.tables import SCHEMA


async def migrate(
    owner_url: str,
    service_url: str | None,
    tell: Callable[[str], None] = lambda step: None,
    messages_schema: str = "public",
    adopted: Adopted | None = None,
) -> None:
    """Brings the database to the newest schema and gives the role of `service_url` its rights; safe to repeat.

    `tell` hears of each step that changed something, in words for a person. The table messages stands, or is made, in
    `messages_schema`; where a table is `adopted`, now or before, there is none.
    Raises CommandError where the database is out of reach, refuses, or has a revision that this code does not know.
    """
    async with changing_schema(owner_url, messages_schema) as connection:
        before = await _state(connection)
        table = _counted_table(before, messages_schema, adopted)
        if table.adopted:
            await _refuse_another_queue(connection, adopted)
            await connection.execute("SET search_path = queuestats")
        else:
            await _refuse_foreign_layout(connection, messages_schema)
        await with_alembic(connection, _upgrade)
        known = revisions()
        for revision in reversed(known[: known.index(before["revision"]) if before.get("revision") in known else None]):
            tell(f"Revision {revision}.")
        begun = adopted or (table.adopted and await renew(connection, table.adopted))
        if begun:
            table = _counted_table(before, messages_schema, begun)
            # What was counted by a former version of the mapping stands where the rules have not changed it.
            is_counted = adopted is None and not begun.names and not begun.has_collations
            await _begin_mapping(connection, table, begun, service_url, is_counted=is_counted)
            before = await _state(connection)
            tell(f"The mapping of {begun.queue}.")
        changed = [parts for parts in table.parts if before.get(parts[-1]) != table.hash_of(parts)]
        await _put_all_into_place(connection, table, changed, tell)
        # Of a distributed table each shard is counted: service/schema/distribute.py.
        if not await connection.fetchval("SELECT queuestats.is_distributed()"):
            if await connection.fetchval("SELECT is_missing OR is_off OR is_partial FROM queuestats.trigger_state()"):
                await _put_all_into_place(connection, table, table.parts, tell)
            await _count_where_needed(connection, table, tell)
        if service_url:
            await grant(connection, service_url)
            tell(f"Rights of the role {login(service_url)[0]}.")


async def _count_where_needed(connection: Any, table: CountedTable, tell: Callable[[str], None]) -> None:
    await connection.execute("SELECT queuestats.forget_unproven()")
    await require_countable(connection)
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM queuestats.baseline)"):
        if table.adopted and table.adopted.names:
            # Before the counts stand: keys that have one number are refused.
            await _without_time_limit(connection, "SELECT queuestats.remember_names()")
            tell("The names of keys that are text: queuestats.keys.")
        # While writers go on; until it is committed the scan answers.
        await _without_time_limit(connection, "SELECT queuestats.rebuild()")
        tell("Every message was counted.")


async def _without_time_limit(connection: Any, statement: str) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(statement)


async def require_countable(connection: Any) -> None:
    """Raises CommandError, with the reason, where `messages` is a table that the triggers can't count."""
    if reasons := await fetch(connection, "queries/uncountable"):
        raise CommandError(f"The queue can't be counted: {'; '.join(each['reason'] for each in reasons)}.")


async def attached(connection: Any) -> Any:
    """The row of sql/queries/adopt/attached.sql; None where nothing is counted in this database."""
    if not await connection.fetchval("SELECT to_regclass('queuestats.adopted') IS NOT NULL"):
        return None
    (row,) = await fetch(connection, "queries/adopt/attached")
    return row


async def _refuse_another_queue(connection: Any, adopted: Adopted | None) -> None:
    """Raises CommandError where another table is counted, or the adopted one is gone."""
    found = await attached(connection)
    if found is None:
        return
    if adopted is None and found["is_gone"]:
        raise CommandError(
            "The adopted table is gone: `queuestats adopt --attach` with another mapping, or `adopt --detach`."
        )
    if adopted and found["queue"] not in (None, await connection.fetchval("SELECT $1::regclass::text", adopted.queue)):
        raise CommandError(f"This database counts {found['queue']} already: a database has one queue.")


async def _refuse_foreign_layout(connection: Any, messages_schema: str) -> None:
    """Raises CommandError where `messages` or our schema is something else, or of a version before 0.2.0."""
    (layout,) = await fetch(connection, "queries/layout", messages_schema=messages_schema)
    if not layout["messages_is_a_table"]:
        raise CommandError(
            "The queue can't be counted: messages is a view or a foreign table, and what is written behind it is not."
        )
    if layout["is_former"]:
        raise CommandError(
            "This database has the layout of a version before 0.2.0, in the schema public, and was left alone:"
            " bring its messages into a new database (pg_dump --data-only --table=messages) that this version migrated."
        )
    if layout["is_adoption_begun"] and messages_schema != SCHEMA:
        raise CommandError(
            "An adoption of this database was cut short: run `queuestats adopt --attach` again, or `adopt --detach`."
        )
    if layout["other_schema"]:
        raise CommandError(
            f"QUEUESTATS_MESSAGES_SCHEMA is {messages_schema}, and messages of this database is in"
            f" {layout['other_schema']}."
        )
    if layout["is_foreign"]:
        raise CommandError(
            "The schema queuestats of this database holds something else, and was left alone: rename it, or choose"
            " another database."
        )


async def pending_changes(connection: Any) -> list[str]:
    """What `migrate` would still do, as words for a person; empty where the schema is current.

    A schema that a newer version wrote counts as current: its migrations keep what the release before them reads.
    """
    state = await _state(connection)
    if not state:
        return ["the whole schema"]
    newest, *older = revisions()
    if state.get("revision") not in (None, newest, *older):
        return []
    table = _counted_table(state)
    wanted = {"revision": newest, **{parts[-1]: table.hash_of(parts) for parts in table.parts}}
    return [part for part, hash_ in wanted.items() if state.get(part) != hash_]


async def missing_rights(connection: Any, service_role: str | None = None) -> list[str]:
    """What the service's role (by default the connection's own) needs and does not have, as words for a person."""
    role = service_role or await connection.fetchval("SELECT current_user")
    return [row["finding"] for row in await fetch(connection, "doctor/rights", service_role=role)]


async def _state(connection: Any) -> dict[str, str]:
    """The revision, and the hash of each part that is in place; nothing where there is no schema."""
    try:
        return {each["name"]: each["hash"] for each in await fetch(connection, "queries/applied_migrations")}
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return {}


async def with_alembic(connection: Any, work: Callable[[Connection], None]) -> None:
    """Runs Alembic's work on this very connection, which stays open; the driver's errors come as they are."""

    async def this_one(*args: Any, **kwargs: Any) -> Any:
        return connection

    engine = create_async_engine("postgresql+asyncpg://", async_creator=this_one, poolclass=StaticPool)
    try:
        async with engine.connect() as wrapped:
            await wrapped.run_sync(work)
    except DBAPIError as error:
        raise (error.orig and error.orig.__cause__) or error from None
    except AlembicError as error:
        raise CommandError(
            f"Alembic can't migrate: {str(error).rstrip('.')}: no release up to this one has such a revision."
        ) from error
    finally:
        await engine.dispose(close=False)


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    return config


@cache
def revisions() -> tuple[str, ...]:
    """Every revision that this code knows, the newest first."""
    return tuple(each.revision for each in ScriptDirectory.from_config(alembic_config()).walk_revisions())


def _upgrade(connection: Connection) -> None:
    config = alembic_config()
    # Found there by migrations/env.py.
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def _put_all_into_place(
    connection: Any, table: CountedTable, all_parts: Sequence[Parts], tell: Callable[[str], None]
) -> None:
    """Raises CommandError where the mapping of an adopted table names what is there no more."""
    for parts in all_parts:
        try:
            await trying_for_lock(partial(_put_into_place, connection, table, parts), connection)
        except (asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError) as error:
            raise CommandError(
                f"The mapping of {table.name} does not fit any more: {str(error).splitlines()[0]}."
                " Correct it, and run `queuestats adopt --attach`."
            ) from error
        tell(f"Functions of {'/'.join(('sql', *parts))}.")


async def _put_into_place(connection: Any, table: CountedTable, parts: Parts) -> None:
    is_attaching = parts == table.parts[-1]
    if not is_attaching or not await connection.fetchval("SELECT queuestats.is_distributed()"):
        await connection.execute(table.render(parts))
    await connection.execute(
        "INSERT INTO queuestats.repeatable_migrations (name, hash) VALUES ($1, $2)"
        " ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, applied_at = excluded.applied_at",
        parts[-1],
        table.hash_of(parts),
    )


async def _begin_mapping(
    connection: Any, table: CountedTable, adopted: Adopted, service_url: str | None, *, is_counted: bool
) -> None:
    """Puts a mapping into place, in one transaction, so that triggers that stand meet one mapping or the other.

    Where it is not counted already, the messages themselves are read until they are counted anew.
    """
    found = await attached(connection)
    stale = [each for each in found["triggers"] if each.startswith("messages_named") and not adopted.names]
    if stale:
        drops = "; ".join(f"DROP TRIGGER {each} ON {found['queue']}" for each in stale)
        await trying_for_lock(lambda: connection.execute(drops), connection)

    async def put() -> None:
        if found["triggers"]:
            # Until it is over: a statement that counts by the former mapping must not end after a recount by this one.
            await connection.execute(f"LOCK TABLE {found['queue']} IN SHARE ROW EXCLUSIVE MODE")
        # The first revision makes it; here another table stands in its place.
        await connection.execute("DROP TABLE IF EXISTS queuestats.messages")
        if not is_counted:
            await connection.execute("DELETE FROM queuestats.baseline")
        written = {name: adopted.values[name] for name in ("stored_column", "stored_type")}
        await fetch(connection, "queries/adopt/forget_stored", **written)
        await connection.execute("DELETE FROM queuestats.adopted")
        await connection.execute("DELETE FROM queuestats.repeatable_migrations")
        await connection.execute(table.render(("adopt", "forget_mapping.sql")))
        for parts in table.parts:
            if not parts[-1].startswith("attach"):
                await _put_into_place(connection, table, parts)
        mapping = msgspec.json.encode(adopted).decode()
        await connection.execute(
            "INSERT INTO queuestats.adopted (mapping, definition) VALUES ($1, queuestats.mapping_definition())", mapping
        )
        if service_url:
            await grant(connection, service_url)

    await trying_for_lock(put, connection)


def _counted_table(
    state: Mapping[str, str], messages_schema: str = "public", adopted: Adopted | None = None
) -> CountedTable:
    """What is adopted now, or was before; else our own table."""
    if adopted is None and "mapping" in state:
        adopted = msgspec.json.decode(state["mapping"], type=Adopted)
    return CountedTable(messages_schema, adopted)
