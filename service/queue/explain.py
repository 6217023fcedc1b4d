"""The exact SQL that the service runs for a query, its plan, and warnings about the plan."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from service.cluster import find_topology
from service.cluster.topology import sub_queries
from service.db import AS_A_SCAN, Connection, Database, Statement, load_statement
from service.db.statements import literal, replace_parameters
from service.model import StatsQuery
from service.reports import Explanation

# From the sixth call on, the server uses one plan for all queries. With this setting EXECUTE uses it at once.
AS_A_LOOK_UP = "SET LOCAL transaction_read_only = on; SET LOCAL plan_cache_mode = force_generic_plan"
# From this share of the table on, reading the whole table is the better plan for a scan.
LARGE_SHARE = 0.05
# Wrong estimates of fewer rows than this do not matter.
ROWS_THAT_MATTER = 100
SANE_FACTOR = 10
COUNTS = ("counters", "deltas", "watermarks")
_INDEXES = re.compile(r"^-- indexes: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Plan:
    """`lines` as in psql; `tree` is the same plan as PostgreSQL's JSON, with the members Plan, JIT …"""

    lines: list[str]
    tree: dict[str, Any]


async def explain(
    database: Database, query: StatsQuery, *, analyze: bool, is_batched: bool = False, is_from_messages: bool = False
) -> Explanation:
    """With `analyze` the statement runs; with `is_batched` it is planned together with the query of the next sender.

    Raises Unavailable or TimedOut.
    """
    topology = await find_topology(database)
    is_scan = not await topology.is_explained_by_counters(query.sender_id) or is_from_messages
    queries = [query] if is_scan else list(sub_queries(query))
    if is_batched and not is_scan:
        queries.append(msgspec.structs.replace(queries[0], sender_id=query.sender_id + 1))
    server, statement, parameters, of_tables, unseen = await topology.explained(queries, is_scan=is_scan)
    plan = await plan_of(server, statement, parameters, analyze=analyze, is_scan=is_scan)
    (tables,) = await server.fetch_scan(of_tables)
    found = warnings(statement.text, plan.tree, dict(tables), is_scan=is_scan, unseen=unseen)
    return Explanation(f"sql/{statement.name}.sql", statement.text, parameters, plan.lines, plan.tree, found)


async def plan_of(
    database: Database, statement: Statement, parameters: Mapping[str, Any], *, analyze: bool, is_scan: bool
) -> Plan:
    """The plan of a statement: for a scan with these values, for other statements with any values.

    With `analyze` the statement runs twice: for `lines` and for `tree`. Raises Unavailable, TimedOut, or BadStatement
    with missing or unknown parameters.
    """
    values = statement.bind(parameters)
    options = f"BUFFERS {analyze}, ANALYZE {analyze}"

    async def explained(connection: Connection) -> Plan:
        async with connection.transaction():
            await connection.execute(AS_A_SCAN if is_scan else AS_A_LOOK_UP)
            sql, given = (statement.sql, values) if is_scan else (await _prepare(connection, statement, values), [])
            lines = await connection.fetch(f"EXPLAIN ({options}) {sql}", *given)
            tree = await connection.fetchval(f"EXPLAIN ({options}, FORMAT JSON) {sql}", *given)
            return Plan([line[0] for line in lines], json.loads(tree)[0])

    plan: Plan = await database.run(statement.name, explained)
    return plan


async def _prepare(connection: Connection, statement: Statement, values: list[Any]) -> str:
    """The call of a prepared statement, because EXPLAIN of a plain statement always plans for the values."""
    types = [statement.types[name] for name in statement.order]
    # A prepared statement outlives a failed transaction.
    if await connection.fetchval(load_statement("explain/is_prepared").sql):
        await connection.execute("DEALLOCATE explained")
    await connection.execute(f"PREPARE explained ({', '.join(types)}) AS {statement.sql}")
    given = (f"cast({literal(value)} AS {type_})" for value, type_ in zip(values, types, strict=True))
    return f"EXECUTE explained ({', '.join(given)})"


def with_values(sql: str, parameters: Mapping[str, Any]) -> str:
    """The statement for psql: each `:name` is replaced by its value."""
    code = "\n".join(line for line in sql.splitlines() if not line.startswith("-- parameters:"))
    return replace_parameters(code, {name: literal(value) for name, value in parameters.items()}).rstrip() + ";\n"


def intended_indexes(text: str) -> tuple[str, ...]:
    """The indexes in the header of a statement's file."""
    found = _INDEXES.search(text)
    return tuple(found[1].split(", ")) if found else ()


def warnings(
    text: str, tree: Mapping[str, Any], tables: Mapping[str, Any], *, is_scan: bool, unseen: Sequence[str] = ()
) -> list[str]:
    """A sentence for each difference between the plan and the intended one.

    `text` is that of the statement's file, `tree` PostgreSQL's JSON of its plan, `tables` the row of
    sql/explain/tables.sql. Estimates are checked only for an analyzed scan: a look-up is planned for all senders.
    `unseen`: indexes that the plan does not show.
    """
    nodes = list(nodes_of(tree["Plan"]))
    intended = [index for index in intended_indexes(text) if index not in unseen]
    lacking = [index for index in intended if index not in tables["indexes"]]
    found = [f"The index {index} is missing or invalid: see queuestats doctor." for index in lacking]
    whole = [node for node in nodes if node["Node Type"] == "Seq Scan"]
    workers = max(node.get("Workers Planned", 0) for node in nodes)
    found += [f"{node['Relation Name']} is read as a whole." for node in whole if _is_wrong(node, tables, workers)]
    if not whole:
        used = {node.get("Index Name") for node in nodes}
        found += [f"The index {index} is not used." for index in intended if index not in {*used, *lacking}]
    if tree.get("JIT", {}).get("Functions"):
        found.append("JIT compilation of the plan takes longer than such a statement: set jit = off.")
    if is_scan:
        found += [
            f"{node['Node Type']}: estimated {node['Plan Rows']} rows, actual {node['Actual Rows']:.0f}:"
            " ANALYZE messages."
            for node in nodes
            if off_by(node) > SANE_FACTOR
        ]
    return found


def nodes_of(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A node and all nodes below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes_of(child)


def off_by(node: Mapping[str, Any]) -> float:
    """The factor between the expected and the actual rows of a loop; 1 if the rows are too few to matter."""
    rows, expected = node.get("Actual Rows", 0), max(1, node["Plan Rows"])
    return 1.0 if rows < ROWS_THAT_MATTER else float(max(rows / expected, expected / rows))


def _is_wrong(node: Mapping[str, Any], tables: Mapping[str, Any], workers: int) -> bool:
    """Whether a table must not be read as a whole; `messages` may be, for a sender with a large part of it."""
    if node["Relation Name"] != "messages":
        return node["Relation Name"] in COUNTS
    # The numbers of a node are per worker.
    times = node.get("Actual Loops", 1 + (workers if node["Parallel Aware"] else 0))
    return bool(node.get("Actual Rows", node["Plan Rows"]) * times < LARGE_SHARE * tables["messages"])
