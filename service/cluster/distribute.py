"""A queue on many machines: `messages` distributed by Citus, and each shard of it a queue of its own (docs/scaling.md).

What a shard's schema is made of are the files that one machine has too, with another schema and table in them.
"""

import asyncio
import json
from collections.abc import Callable

from service.db import Connection, connect, fetch
from service.db.address import at_host
from service.db.statements import load_statement, read_sql, replace_parameters
from service.errors import CommandError
from service.model import Grouping
from service.resources import sql_path
from service.schema.columns import grouping_set
from service.schema.files import newer_columns, shard_table, table_definitions
from service.schema.locks import changing_schema, trying_for_lock
from service.schema.roles import login

# The schema and the table of a shard in stored text. sql/citus/node.sql puts a number in place of {shard}.
SHARD = shard_table("queuestats_{shard}", "public.messages_{shard}")
NODE = {"schema": "queuestats_node"}
PAUSE_SECONDS = 0.5
# While writers go on, the triggers of a shard may have to wait for them again and again.
PATIENCE_STEPS = 1200
LOCK_NOT_AVAILABLE = "55P03"
# Of statements that are run on a shard as text: their parameters, in the order of sql/queries/citus/.
_TOP = ("largest_by", "row_limit", "sender_id", "grouping_set")
_SCAN = ("sender_id", "account_id", "campaign_id", "isp")
_STATEMENTS = {
    "top/senders": _TOP[:2],
    "top/keys": _TOP,
    "watch": ("most_deltas",),
    **{f"from_messages/{each}": _SCAN for each in Grouping},
}


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
    """Gives each node of a cluster what it needs beside its shards, each shard its schema, and counts it, while writers
    go on. Does nothing for a queue on one machine.
    """
    async with connect(owner_url) as connection:
        (state,) = await fetch(connection, "queries/citus/state")
        if not state["is_distributed"]:
            return
        nodes = await fetch(connection, "queries/citus/primaries")
        # The schema of the coordinator says that the shards are counted, and which shard a sender is in.
        await _bring_up(connection, service_url)
    await asyncio.gather(*(_bring_up_node(owner_url, service_url, host, port, progress) for host, port in nodes))


async def _bring_up_node(
    owner_url: str, service_url: str | None, host: str, port: int, progress: Callable[[str], None]
) -> None:
    async with connect(at_host(owner_url, host, port)) as connection:
        await _bring_up(connection, service_url)
        await _count_shards(connection, lambda done: progress(f"{host}:{port}: {done}."))


async def _bring_up(connection: Connection, service_url: str | None) -> None:
    # Of this session: what is made here is no affair of the other nodes, and takes as long as it takes.
    await connection.execute("SET citus.enable_ddl_propagation = off; SET client_min_messages = error")
    await connection.execute("SET statement_timeout = 0")
    async with connection.transaction():
        await connection.execute("CREATE SCHEMA IF NOT EXISTS queuestats_node")
        await connection.execute(read_sql("migrate/create_or_replace", NODE))
        await fetch(connection, "migrate/run_file", NODE, file=sql_path("citus", "node.sql").read_text("utf-8"))
        await fetch(connection, "citus/lock_shards")
        await fetch(connection, "citus/clear")
        texts = {"definitions": shard_definitions(), "readers": _readers(), "statements": _statements()}
        await fetch(connection, "citus/store", **{name: json.dumps(rows) for name, rows in texts.items()})
        await fetch(connection, "citus/refresh")
        role = login(service_url)[0] if service_url else None
        for row in await fetch(connection, "citus/grants", role=role):
            await connection.execute(row["statement"])


async def _count_shards(connection: Connection, progress: Callable[[str], None]) -> None:
    """Returns when each shard of this node has its schema and is counted."""
    for _ in range(PATIENCE_STEPS):
        try:
            ((done,),) = await fetch(connection, "queries/citus/settle")
        except Exception as error:
            # The lock on the table of a shard did not come in time.
            if getattr(error, "sqlstate", "") != LOCK_NOT_AVAILABLE:
                raise
            done = None
        if done:
            progress(done)
        elif not await fetch(connection, "queries/citus/uncounted"):
            return
        else:
            await asyncio.sleep(PAUSE_SECONDS)
    raise CommandError(
        "Shards are in use, and did not get their triggers: run it again when the long transactions have ended."
    )


def shard_definitions() -> list[tuple[int, str, bool]]:
    """The statements that make the schema of a shard, in their order: number, text, whether it is repeatable."""
    once = [f"CREATE SCHEMA {SHARD.schema}", *table_definitions(SHARD.schema, [grouping_set])]
    # The tables of a shard are as old as its schema.
    repeatable = [*newer_columns(SHARD.schema), *(file.text for file in SHARD.files())]
    return [(number, body, number >= len(once)) for number, body in enumerate(once + repeatable)]


def _readers() -> list[tuple[str, list[str], list[str], str]]:
    """The statements of queries/from_counters/ as bodies of a function: name, parameters and their types, text.

    A cluster does not answer `with` yet.
    """
    found = []
    for path in sorted(sql_path("queries", "from_counters").glob("*.sql")):
        if "_with_" in path.stem:
            continue
        statement = load_statement(f"queries/from_counters/{path.stem}", SHARD.places)
        text = replace_parameters(statement.text, {name: f"own_{name}" for name in statement.types})
        found.append((path.stem, list(statement.types), list(statement.types.values()), text))
    return found


def _statements() -> list[tuple[str, str]]:
    """Name, and text whose parameters are elements of one array of texts."""
    found = []
    for name, order in _STATEMENTS.items():
        elements = {parameter: f"($1)[{number}]" for number, parameter in enumerate(order, 1)}
        found.append((name, replace_parameters(read_sql(f"queries/{name}", SHARD.places), elements)))
    return found
