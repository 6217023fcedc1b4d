"""A queue on many machines: `messages` distributed by Citus, and each shard of it a queue of its own (docs/scaling.md).

What a shard's schema is made of are the files that one machine has too, with another schema and table in them.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from service.db.address import at_host
from service.db.connect import connect, fetch
from service.db.statements import load_statement
from service.errors import CommandError
from service.model import Grouping
from service.resources import sql_path
from service.schema.files import CountedTable
from service.schema.locks import changing_schema, trying_for_lock
from service.schema.roles import login
from service.schema.tables import SCHEMA

NODE = "queuestats_node"
PAUSE_SECONDS = 0.5
# Of statements that are run on a shard as text: their parameters, in the order of sql/queries/citus/.
_TOP = ("largest_by", "row_limit", "sender_id", "grouping_set")
_SCAN = ("sender_id", "account_id", "campaign_id", "isp")
_STATEMENTS = {
    "top/senders": _TOP[:2],
    "top/keys": _TOP,
    "watch": ("most_deltas",),
    **{f"from_messages/{each}": _SCAN for each in Grouping},
}
# While writers go on, a shard's triggers may have to wait for them again and again.
PATIENCE_STEPS = 1200


async def distribute(owner_url: str, shard_count: int, tell: Callable[[str], None]) -> None:
    """Distributes `messages` by sender over the nodes of a Citus cluster. Writers wait until that is over.

    `owner_url` is that of the coordinator, whose database `migrate` has brought up. Raises CommandError where there is
    no Citus, or the table is not in the schema public.
    """
    async with changing_schema(owner_url) as connection:
        state = await cluster_state(connection)
        if not state["has_citus"]:
            raise CommandError("This database has no Citus: CREATE EXTENSION citus on every node, then citus_add_node.")
        if state["is_distributed"]:
            return
        if not state["is_in_public"]:
            raise CommandError("Only the table messages of the schema public can be distributed.")
        (attached,) = await fetch(connection, "queries/adopt/attached")
        drops = "; ".join(f"DROP TRIGGER {each} ON public.messages" for each in attached["triggers"])

        async def work() -> None:
            await fetch(connection, "citus/lock")
            await connection.execute(f"{drops}; DELETE FROM queuestats.baseline")
            # A service that believes the queue to be on one machine still finds nothing to answer with.
            await connection.execute("DROP FUNCTION queuestats.current_counters")
            await connection.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
            await connection.execute("SET LOCAL citus.shard_replication_factor = 1")
            await fetch(connection, "citus/distribute", shard_count=shard_count)

        await trying_for_lock(work, connection)
        await fetch(connection, "citus/forget")
        tell(f"messages is distributed by sender_id over {shard_count} shards.")


async def bring_up_nodes(owner_url: str, service_url: str | None, tell: Callable[[str], None]) -> None:
    """Gives each node what it needs beside its shards, each shard its schema, and counts it, while writers go on."""
    async with connect(owner_url) as connection:
        nodes = await fetch(connection, "queries/citus/primaries")
        # Its own schema says that the shards are counted, and which one a sender is in.
        await _bring_up(connection, service_url)
    await asyncio.gather(*(_bring_up_node(owner_url, service_url, each["host"], each["port"], tell) for each in nodes))


async def _bring_up_node(
    owner_url: str, service_url: str | None, host: str, port: int, tell: Callable[[str], None]
) -> None:
    async with connect(at_host(owner_url, host, port)) as connection:
        await _bring_up(connection, service_url)
        await settle(connection, lambda what: tell(f"{host}:{port}: {what}."))


async def _bring_up(connection: Any, service_url: str | None) -> None:
    table = CountedTable("public", shard=0, schema="queuestats_0")
    once = ["CREATE SCHEMA queuestats_0", *table.definitions()]
    # A shard's tables are as old as its schema.
    repeatable = [*table.newer_columns(), *(table.render(each) for each in table.parts)]
    parts = [(number, body, number >= len(once)) for number, body in enumerate(once + repeatable)]
    # What is made here is no affair of the other nodes.
    await connection.execute("SET citus.enable_ddl_propagation = off; SET client_min_messages = error")
    await connection.execute("SET statement_timeout = 0")
    async with connection.transaction():
        await connection.execute(sql_path("citus", "node.sql").read_text("utf-8"))
        # The service settles shards all the time: by the former text, or by the new one.
        await connection.execute(f"LOCK TABLE {NODE}.shards IN SHARE ROW EXCLUSIVE MODE")
        await connection.execute(f"DELETE FROM {NODE}.parts; DELETE FROM {NODE}.readers; DELETE FROM {NODE}.statements")
        await connection.executemany(f"INSERT INTO {NODE}.parts VALUES ($1, $2, $3)", parts)
        await connection.executemany(f"INSERT INTO {NODE}.readers VALUES ($1, $2, $3, $4)", _readers(table))
        await connection.executemany(f"INSERT INTO {NODE}.statements VALUES ($1, $2)", _statements(table))
        await connection.execute(f"SELECT {NODE}.refresh()")
        await connection.execute(f"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {NODE} FROM PUBLIC")
        if service_url:
            role = await connection.fetchval("SELECT quote_ident($1)", login(service_url)[0])
            await connection.execute(f"GRANT USAGE ON SCHEMA {NODE} TO {role}")
            await connection.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {NODE} TO {role}")


async def settle(connection: Any, tell: Callable[[str], None]) -> None:
    """Until each shard of this node has its schema and is counted."""
    for _ in range(PATIENCE_STEPS):
        try:
            done = await connection.fetchval(f"SELECT {NODE}.settle()")
        except Exception as error:
            if getattr(error, "sqlstate", "") != "55P03":
                raise
            done = None
        if done:
            tell(done)
        elif not await connection.fetchval(f"SELECT {NODE}.uncounted()"):
            return
        else:
            await asyncio.sleep(PAUSE_SECONDS)
    raise CommandError(
        "Shards are in use, and did not get their triggers: run it again when the long transactions have ended."
    )


def _readers(table: CountedTable) -> list[tuple[str, list[str], list[str], str]]:
    """The statements of queries/from_counters/ as bodies of a function: name, parameters and their types, text."""
    found = []
    for path in sorted(sql_path("queries", "from_counters").glob("*.sql")):
        statement = load_statement(f"queries/from_counters/{path.stem}")
        text = table.in_schema(statement.text)
        for name, type_ in statement.types.items():
            text = text.replace(f"cast(:{name} AS {type_})", f"own_{name}")
        found.append((path.stem, list(statement.types), list(statement.types.values()), text))
    return found


def _statements(table: CountedTable) -> list[tuple[str, str]]:
    """Name, and text whose parameters are elements of one array of texts."""
    found = []
    for name, order in _STATEMENTS.items():
        # A shard that has just come has no schema yet: its messages are read from the table.
        text = load_statement(f"queries/{name}").text.replace(f"{SCHEMA}.queued_messages", table.name)
        text = table.in_schema(text)
        for number, each in enumerate(order, 1):
            text = re.sub(rf":{each}\b", f"($1)[{number}]", text)
        found.append((name, text))
    return found


async def cluster_state(connection: Any) -> Any:
    """The row of sql/queries/citus/state.sql."""
    (row,) = await fetch(connection, "queries/citus/state")
    return row
