"""Brings a database to the newest schema: the revisions, the files of `sql/`, the service's rights."""

from collections.abc import Callable, Sequence
from functools import partial

import asyncpg
import msgspec

from service.db import Connection, fetch
from service.db.statements import read_sql
from service.errors import CommandError
from service.schema.contract import narrow_contract, write_contract
from service.schema.files import Adopted, MessagesTable, SqlFile, adopted_table, own_table
from service.schema.locks import changing_schema, trying_for_lock
from service.schema.mapping import renew
from service.schema.repair import make_anew
from service.schema.revisions import revisions, upgrade
from service.schema.roles import grant, login
from service.schema.tables import SCHEMA

Progress = Callable[[str], None]


async def migrate(
    owner_url: str,
    service_url: str | None,
    progress: Progress = lambda step: None,
    messages_schema: str = "public",
    adopted: Adopted | None = None,
) -> None:
    """Brings the database to the newest schema and gives the role of `service_url` its rights; safe to repeat.

    `progress` is called with a sentence after each step that has changed something. Without an adopted table, messages
    is created in `messages_schema`.
    Raises CommandError if the database is unreachable, refuses a statement, has an unknown revision, or an encoding
    that can't be converted to UTF-8.
    """
    async with changing_schema(owner_url, messages_schema) as connection:
        await require_encoding(connection)
        state = await _state(connection)
        former = _mapping(state)
        is_first_version = False
        if adopted or former:
            await _refuse_another_queue(connection, adopted)
            # The first revision creates messages there, and sql/adopt/forget_mapping.sql drops it.
            await connection.execute(f"SET search_path = {SCHEMA}")
        else:
            is_first_version = await _prepare_layout(connection, messages_schema)
        is_new_revision = await _upgrade(connection, state.get("revision"), progress)
        if is_first_version:
            await trying_for_lock(partial(connection.execute, read_sql("migrate/from_0_1_0")), connection)
            progress("The tokens of 0.1.0 were moved, and its counters dropped.")
        await connection.execute(read_sql("migrate/create_or_replace"))
        begun = adopted or (former and await renew(connection, former))
        mapping = begun or former
        table = adopted_table(mapping) if mapping else own_table(messages_schema)
        if begun:
            await _begin_mapping(connection, table, begun, service_url, renewed=None if adopted else former)
            progress(f"The mapping of {begun.queue}.")
        is_damaged = await make_anew(connection, progress)
        await _put_into_place(connection, table, await _changed(connection, table, is_damaged=is_damaged), progress)
        await _count_where_needed(connection, table, progress)
        # A distributed queue has no holds.
        if await fetch(connection, "migrate/triggers"):
            await _without_time_limit(connection, "migrate/name_holds")
        if begun:
            await _without_time_limit(connection, "queries/adopt/forget_held")
        await fetch(connection, "migrate/remember_objects", is_new_revision=is_new_revision)
        if service_url:
            await grant(connection, service_url)
            progress(f"Rights of the role {login(service_url)[0]}.")
        await write_contract(connection)


async def _upgrade(connection: Connection, former: str | None, progress: Progress) -> bool:
    """Applies revisions. Returns whether there were any. `former`: the revision of the database."""
    newer = known = revisions()
    if former in known:
        await narrow_contract(connection)
        newer = known[: known.index(former)]
    await upgrade(connection)
    for revision in reversed(newer):
        progress(f"Revision {revision}.")
    return bool(newer)


async def _changed(connection: Connection, table: MessagesTable, *, is_damaged: bool) -> list[SqlFile]:
    """The changed files; if functions are damaged, also all others except those that attach triggers."""
    state = await _state(connection)
    return [
        file for file in table.files() if state.get(file.name) != file.hash or (is_damaged and not file.is_attaching)
    ]


async def _prepare_layout(connection: Connection, messages_schema: str) -> bool:
    """Whether version 0.1.0 created the existing tables. Raises CommandError if the database must not be changed."""
    (layout,) = await fetch(connection, "queries/layout", messages_schema=messages_schema)
    if layout["refusal"]:
        raise CommandError(layout["refusal"])
    if layout["is_former"]:
        # The first revision creates messages there, and sql/migrate/from_0_1_0.sql drops it.
        await connection.execute(f"SET search_path = {SCHEMA}")
    return bool(layout["is_former"])


async def attached(connection: Connection) -> asyncpg.Record | None:
    """The row of sql/queries/adopt/attached.sql; None if nothing is counted in this database."""
    # A look-up in the catalog: the statement itself names tables of ours.
    if not await connection.fetchval("SELECT to_regclass('queuestats.adopted') IS NOT NULL"):
        return None
    (row,) = await fetch(connection, "queries/adopt/attached")
    return row


async def require_countable(connection: Connection) -> None:
    """Raises CommandError with the reason if the triggers can't count the table `messages`."""
    if reasons := await fetch(connection, "queries/uncountable"):
        raise CommandError(f"The queue can't be counted: {'; '.join(row['reason'] for row in reasons)}.")


async def require_encoding(connection: Connection) -> None:
    """Raises CommandError if the server can't convert the database's encoding to UTF-8, for example SQL_ASCII."""
    for row in await fetch(connection, "migrate/encoding"):
        raise CommandError(
            f"The encoding of this database is {row['encoding']}, which PostgreSQL does not convert to UTF-8, so its"
            " texts can't be read: create the database with the encoding UTF8."
        )


async def pending_changes(connection: Connection) -> list[str]:
    """The remaining steps of `migrate`, in words; empty if the schema is current.

    The schema of a newer version counts as current, because migrations keep what the previous release reads.
    """
    state = await _state(connection)
    if not state:
        return ["the whole schema"]
    newest, *older = revisions()
    if state.get("revision") not in (None, newest, *older):
        return []
    mapping = _mapping(state)
    table = adopted_table(mapping) if mapping else own_table()
    wanted = {"revision": newest, **{file.name: file.hash for file in table.files()}}
    return [name for name, hash_ in wanted.items() if state.get(name) != hash_]


async def _state(connection: Connection) -> dict[str, str]:
    """The revision, the hashes of the files that were run, and the mapping; empty without a schema."""
    try:
        return {row["name"]: row["hash"] for row in await fetch(connection, "queries/applied_migrations")}
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return {}


def _mapping(state: dict[str, str]) -> Adopted | None:
    return msgspec.json.decode(state["mapping"], type=Adopted) if "mapping" in state else None


async def _refuse_another_queue(connection: Connection, adopted: Adopted | None) -> None:
    """Raises CommandError if another table is counted, or if the adopted one was dropped or renamed."""
    found = await attached(connection)
    if found and adopted is None and found["is_gone"]:
        raise CommandError(
            "The adopted table was dropped or renamed: run `queuestats adopt --attach` for its name, or --detach."
        )
    if found and adopted and found["queue"] not in (None, adopted.queue):
        raise CommandError(f"This database counts {found['queue']} already: a database has one queue.")


async def _put_into_place(
    connection: Connection, table: MessagesTable, files: Sequence[SqlFile], progress: Progress
) -> None:
    """Raises CommandError if the mapping of an adopted table uses an object that no longer exists."""
    for file in files:
        try:
            await trying_for_lock(partial(_run_file, connection, file), connection)
        except (asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError) as error:
            raise CommandError(
                f"The mapping of {table.name} no longer fits: {error.message}."
                " Correct it, and run `queuestats adopt --attach`."
            ) from error
        progress(f"Functions of sql/{file.path}.sql.")


async def _run_file(connection: Connection, file: SqlFile) -> None:
    """Raises CommandError if objects of other applications depend on an object that has to be dropped first."""
    try:
        await fetch(connection, "migrate/run_file", file=file.text)
    except asyncpg.DependentObjectsStillExistError as error:
        others = "; ".join(str(error.detail).splitlines())
        raise CommandError(
            f"sql/{file.path}.sql can't be run: {error.message}: {others}. Drop these objects, run"
            " `queuestats migrate`, and create them again."
        ) from None
    await fetch(connection, "migrate/remember_file", name=file.name, hash=file.hash)


async def _count_where_needed(connection: Connection, table: MessagesTable, progress: Progress) -> None:
    """Counts all messages unless the counts are proven. For a distributed table, each node counts."""
    if not (triggers := await fetch(connection, "migrate/triggers")):
        return
    if triggers[0]["are_incomplete"]:
        await _put_into_place(connection, table, table.files(), progress)
    await fetch(connection, "migrate/forget_unproven")
    await require_countable(connection)
    if (await fetch(connection, "migrate/has_baseline"))[0]["has_baseline"]:
        await _without_time_limit(connection, "migrate/set_bounds")
        return
    if table.adopted and table.adopted.names:
        # Before the count, because keys with the same number are refused.
        await _without_time_limit(connection, "queries/adopt/remember_names")
        progress("The names of keys that are text: queuestats.keys.")
    # Writers continue; until the commit, scans answer.
    await _without_time_limit(connection, "queries/rebuild", sender_id=None)
    progress("Every message was counted.")


async def _without_time_limit(connection: Connection, name: str, **values: None) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await fetch(connection, name, **values)


async def _begin_mapping(
    connection: Connection,
    table: MessagesTable,
    mapping: Adopted,
    service_url: str | None,
    *,
    renewed: Adopted | None,
) -> None:
    """Installs a mapping in one transaction, so that existing triggers use either the former mapping or the new one.

    `renewed`: a former version of the same mapping. Its counts remain valid if the rules have not changed them;
    otherwise scans answer until the messages are recounted.
    """
    is_counted = renewed and (renewed.version > 0 or not (mapping.names or mapping.has_collations))
    found = await attached(connection)
    assert found is not None, "the revisions have created the table"
    if found["drop_name_triggers"] and not mapping.names:
        await trying_for_lock(partial(connection.execute, found["drop_name_triggers"]), connection)

    async def put() -> None:
        if found["drop_triggers"]:
            # Until the commit: a statement that counts by the former mapping must not end after a recount by the new.
            await connection.execute(table.render("adopt/lock"))
        if not is_counted:
            await fetch(connection, "migrate/forget_baseline")
        if not renewed:
            written = {name: mapping.values[name] for name in ("stored_column", "stored_type")}
            await fetch(connection, "queries/adopt/forget_stored", **written)
        await connection.execute(table.render("adopt/forget_mapping"))
        for file in table.files():
            if not file.is_attaching:
                await _run_file(connection, file)
        await fetch(connection, "queries/adopt/remember_mapping", mapping=msgspec.json.encode(mapping).decode())
        if service_url:
            await grant(connection, service_url)

    await trying_for_lock(put, connection)
