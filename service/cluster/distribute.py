"""A queue on many machines: `messages` distributed by Citus, and one set of counters for each node (docs/scaling.md).

The counters of a node are made by the files that one machine has too, in a schema that Citus does not know.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from service.cluster.node import SCHEMA, TABLE
from service.db import Connection, connect, fetch
from service.db.address import at_host
from service.db.statements import read_sql
from service.errors import CommandError
from service.schema.columns import grouping_set
from service.schema.files import newer_columns, table_definitions
from service.schema.locks import changing_schema, trying_for_lock
from service.schema.roles import login

# Settings of a session. What is made in it is no affair of the other nodes, and takes as long as it takes.
LOCAL = "SET citus.enable_ddl_propagation = off; SET client_min_messages = error; SET statement_timeout = 0"
PAUSE_SECONDS = 0.5
# While writers go on, the triggers of a shard may have to wait for them again and again.
PATIENCE_STEPS = 1200


async def distribute(owner_url: str, shard_count: int, progress: Callable[[str], None]) -> None:
    """Distributes `messages` by sender over the nodes of a Citus cluster, from its coordinator. Writers wait meanwhile.

    Raises CommandError where there is no Citus, or the table is not in the schema public.
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
            # From here on it holds the lock, and takes as long as the rows do.
            await connection.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
            await connection.execute("SET LOCAL citus.shard_replication_factor = 1")
            await fetch(connection, "citus/distribute", shard_count=shard_count)

        await trying_for_lock(work, connection)
        await fetch(connection, "citus/forget")
        progress(f"messages is distributed by sender_id over {shard_count} shards.")


async def bring_up_nodes(owner_url: str, service_url: str | None, progress: Callable[[str], None]) -> None:
    """Gives each node of a cluster its counters, and counts its shards, while writers go on. Then drops the schemas of
    former releases, which had one for each shard. Does nothing for a queue on one machine.
    """
    async with connect(owner_url) as connection:
        (state,) = await fetch(connection, "queries/citus/state")
        if not state["is_distributed"]:
            return
        nodes = await fetch(connection, "queries/citus/primaries")
        # The schema of the coordinator says that the shards are counted, and which shard a sender is in.
        await _bring_up(connection, service_url)
    await asyncio.gather(*(_bring_up_node(owner_url, service_url, host, port, progress) for host, port in nodes))
    # The coordinator last: by its functions services of a former release find the nodes.
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
    places = {"schema": SCHEMA}
    async with connection.transaction():
        if not (await fetch(connection, "citus/made"))[0]["is_made"]:
            made = [*table_definitions(SCHEMA, [grouping_set]), read_sql("citus/tables", places)]
            for definition in (f"CREATE SCHEMA {SCHEMA}", *made):
                await connection.execute(definition)
        for addition in newer_columns(SCHEMA):
            await connection.execute(addition)
        await connection.execute(read_sql("migrate/create_or_replace", places))
        for file in TABLE.files():
            await fetch(connection, "migrate/run_file", places, file=file.text)
        if service_url:
            for row in await fetch(connection, "citus/grants", role=login(service_url)[0]):
                await connection.execute(row["statement"])


async def _count_shards(connection: Connection, progress: Callable[[str], None]) -> None:
    """Returns when each shard of this node has its triggers and is counted."""
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
