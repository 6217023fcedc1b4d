"""A queue on many machines: `messages` distributed by Citus, and one set of counters for each node (docs/scaling.md).

The same files create the counters on one machine and on a node. On a node, Citus does not manage their schema.
"""

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial

from service.cluster.node import SCHEMA, TABLE
from service.db import Connection, connect, fetch
from service.db.address import at_host
from service.db.statements import read_sql
from service.errors import CommandError
from service.schema.columns import grouping_set
from service.schema.files import SqlFile, newer_columns, own_tables, table_definition, table_definitions
from service.schema.locks import changing_schema, trying_for_lock
from service.schema.repair import COUNTED, missing_indexes
from service.schema.roles import login

PLACES = {"schema": SCHEMA}
# The missing objects of a node that was added to the cluster and not migrated yet.
WHOLE_SCHEMA = f"the whole schema {SCHEMA}"
# Settings of a session: Citus does not create its objects on other nodes, and its statements have no time limit.
LOCAL = "SET citus.enable_ddl_propagation = off; SET client_min_messages = error; SET statement_timeout = 0"
PAUSE_SECONDS = 0.5
# The triggers of a shard are created under a lock, so a step may fail repeatedly while writers have transactions open.
PATIENCE_STEPS = 1200


async def distribute(owner_url: str, shard_count: int, progress: Callable[[str], None]) -> None:
    """Distributes `messages` by sender over the nodes of a Citus cluster. Writers wait until its rows are copied.

    Runs on the coordinator. Does nothing if the table is distributed already. Raises CommandError if the database has
    no Citus, or the table is not in the schema public.
    """
    async with changing_schema(owner_url) as connection:
        (state,) = await fetch(connection, "queries/citus/state")
        if not state["has_citus"]:
            raise CommandError("This database has no Citus: CREATE EXTENSION citus on every node, then citus_add_node.")
        if state["is_distributed"]:
            return
        if not state["is_in_public"]:
            raise CommandError("Only the table messages of the schema public can be distributed.")

        async def work() -> None:
            await fetch(connection, "citus/lock")
            await fetch(connection, "citus/detach")
            # The transaction has the lock now. Its duration depends on the number of rows.
            await connection.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
            await connection.execute("SET LOCAL citus.shard_replication_factor = 1")
            await fetch(connection, "citus/distribute", shard_count=shard_count)

        await trying_for_lock(work, connection)
        await fetch(connection, "citus/forget")
        progress(f"messages is distributed by sender_id over {shard_count} shards.")


async def bring_up_nodes(owner_url: str, service_url: str | None, progress: Callable[[str], None]) -> None:
    """Creates the counters on each node of a cluster, and counts its shards, while writers continue.

    Then drops the schemas of former releases, which had one for each shard. Does nothing for a queue on one machine.
    """
    async with connect(owner_url) as connection:
        (state,) = await fetch(connection, "queries/citus/state")
        if not state["is_distributed"]:
            return
        nodes = await fetch(connection, "queries/citus/primaries")
        # The schema of the coordinator shows whether the shards are counted, and in which shard a sender is.
        await _bring_up(connection, service_url)
    await asyncio.gather(*(_bring_up_node(owner_url, service_url, host, port, progress) for host, port in nodes))
    # The coordinator comes last: services of a former release find the nodes with its functions.
    for url in (*(at_host(owner_url, host, port) for host, port in nodes), owner_url):
        await _drop_former(url)
    for host, port in nodes:
        async with connect(at_host(owner_url, host, port)) as connection:
            await _count_shards(connection, progress)


async def _bring_up_node(
    owner_url: str, service_url: str | None, host: str, port: int, progress: Callable[[str], None]
) -> None:
    async with connect(at_host(owner_url, host, port)) as connection:
        await _bring_up(connection, service_url)
        await _count_shards(connection, lambda done: progress(f"{host}:{port}: {done}."))


async def _bring_up(connection: Connection, service_url: str | None) -> None:
    await connection.execute(LOCAL)
    async with connection.transaction():
        changes = await node_changes(connection)
        await _make_tables(connection)
        await connection.execute(read_sql("migrate/create_or_replace", PLACES))
        for file in TABLE.files():
            await fetch(connection, "migrate/run_file", PLACES, file=file.text)
            await fetch(connection, "migrate/remember_file", PLACES, name=file.name, hash=hash_at_node(file))
        for definition in missing_indexes(await fetch(connection, "conditions/objects", PLACES)):
            await connection.execute(definition)
        await fetch(connection, "migrate/remember_objects", PLACES, is_new_revision=bool(changes))
        if service_url:
            for row in await fetch(connection, "citus/grants", role=login(service_url)[0]):
                await connection.execute(row["statement"])


async def _make_tables(connection: Connection) -> None:
    """Creates the tables and columns that the node lacks. If a table of counts is missing, the shards are recounted."""
    if not (await fetch(connection, "citus/made"))[0]["is_made"]:
        made = [*table_definitions(SCHEMA, [grouping_set]), read_sql("citus/tables", PLACES)]
        for definition in (f"CREATE SCHEMA {SCHEMA}", *made):
            await connection.execute(definition)
    missing = [name for name, lacking in (await _lacking(connection)).items() if lacking is None]
    for name in missing:
        for definition in table_definition(name, SCHEMA):
            await connection.execute(definition)
    if {*missing} & {*COUNTED}:
        await fetch(connection, "citus/uncount", PLACES)
    for addition in newer_columns(SCHEMA):
        await connection.execute(addition)


async def _lacking(connection: Connection) -> dict[str, list[str] | None]:
    """The tables of a node that lack columns, with the names of these columns; None for a missing table."""
    present = {row["table_name"]: row["column_names"] for row in await fetch(connection, "citus/columns", PLACES)}
    lacking: dict[str, list[str] | None] = {}
    for table in own_tables():
        columns = [column.name for column in table.columns if column.name not in present.get(table.name, ())]
        if columns:
            lacking[table.name] = columns if table.name in present else None
    return lacking


async def node_changes(connection: Connection) -> list[str]:
    """Descriptions of the remaining steps of `bring_up_nodes` on one node; empty if the node is current."""
    if not (await fetch(connection, "citus/made"))[0]["is_made"]:
        return [WHOLE_SCHEMA]
    lacking = await _lacking(connection)
    if "repeatable_migrations" in lacking:
        return ["the table repeatable_migrations"]
    applied = {row["name"]: row["hash"] for row in await fetch(connection, "citus/applied", PLACES)}
    missing = [f"the table {table}" for table, columns in lacking.items() if columns is None]
    missing += [f"the column {table}.{column}" for table, columns in lacking.items() for column in columns or ()]
    return missing + [file.name for file in TABLE.files() if applied.get(file.name) != hash_at_node(file)]


def hash_at_node(file: SqlFile) -> str:
    """The hash of the text that runs on a node, with the values of its places, which do not depend on a mapping."""
    return hashlib.sha256(file.text.encode()).hexdigest()


async def _count_shards(connection: Connection, progress: Callable[[str], None]) -> None:
    """Returns when each shard of this node is attached and counted. Raises CommandError if shards stay locked."""
    for _ in range(PATIENCE_STEPS):
        ((done,),) = await fetch(connection, "queries/citus/settle")
        if done:
            progress(done)
        elif not await fetch(connection, "queries/citus/uncounted"):
            return
        else:
            await asyncio.sleep(PAUSE_SECONDS)
    raise CommandError(
        "Shards are in use, and did not get their triggers: run it again when the long transactions have ended."
    )


async def _drop_former(url: str) -> None:
    async with connect(url) as connection:
        await connection.execute(LOCAL)
        for row in await fetch(connection, "citus/former"):
            await trying_for_lock(partial(connection.execute, row["statement"]), connection)
