"""EXPLAIN as the service is planned for: the same role, the same settings, the same kind of plan."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg

from service.db.pool import AS_A_SCAN, Database
from service.db.statements import Statement, statement

# From the sixth call on, the server has one plan for all askers; EXECUTE shows it at once.
AS_A_LOOK_UP = "SET LOCAL transaction_read_only = on; SET LOCAL plan_cache_mode = force_generic_plan"


@dataclass(frozen=True, slots=True)
class Plan:
    """`lines` as psql shows them; `tree` is PostgreSQL's JSON of the same, with the members Plan, JIT …"""

    lines: list[str]
    tree: dict[str, Any]


async def plan_of(
    database: Database, asked: Statement, parameters: Mapping[str, Any], *, analyze: bool, is_scan: bool
) -> Plan:
    """The plan of a scan is made for these values, of any other statement for all values.

    With `analyze` the statement really runs, once for `lines`, and once more for `tree`. Raises Unavailable, TimedOut,
    or BadStatement naming a parameter that is missing or too many.
    """
    values = asked.bind(parameters)
    explain = _explain_scan if is_scan else _explain_look_up
    options = f"ANALYZE {analyze}, BUFFERS {analyze}"
    plan: Plan = await database.ask(asked.name, partial(explain, asked, values, options))
    return plan


async def _explain_scan(asked: Statement, values: list[Any], options: str, connection: Any) -> Plan:
    async with connection.transaction():
        await connection.execute(AS_A_SCAN)
        return await _explain(connection, options, asked.sql, values)


async def _explain_look_up(asked: Statement, values: list[Any], options: str, connection: Any) -> Plan:
    # EXPLAIN by itself would plan for the values, whatever the setting says.
    types = ", ".join(asked.types[each] for each in asked.order)
    try:
        async with connection.transaction():
            await connection.execute(AS_A_LOOK_UP)
            given = [None if value is None else _as_text(value) for value in values]
            literals = await connection.fetchval(statement("explain/literals").sql, given)
            await connection.execute(f"PREPARE explained ({types}) AS {asked.sql}")
            plan = await _explain(connection, options, f"EXECUTE explained ({', '.join(literals)})", [])
            await connection.execute("DEALLOCATE explained")
            return plan
    except asyncpg.PostgresError:
        # It would outlive the transaction that failed.
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.execute("DEALLOCATE explained")
        raise


async def _explain(connection: Any, options: str, sql: str, values: list[Any]) -> Plan:
    lines = await connection.fetch(f"EXPLAIN ({options}) {sql}", *values)
    tree = await connection.fetchval(f"EXPLAIN ({options}, FORMAT JSON) {sql}", *values)
    return Plan([line[0] for line in lines], json.loads(tree)[0])


def _as_text(value: Any) -> str:
    """As PostgreSQL reads it; a list as an array."""
    if not isinstance(value, list):
        return str(value)
    quoted = [each if each is None else json.dumps(str(each), ensure_ascii=False) for each in value]
    return f"{{{','.join('NULL' if each is None else each for each in quoted)}}}"
