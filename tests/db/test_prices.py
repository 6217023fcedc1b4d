"""No plan of the service uses JIT or a node that the settings of its role disable, on any version."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.db import load_statement
from service.resources import sql_path
from tests.conftest import TestDatabase

# PostgreSQL 15 to 17 add this cost to a disabled node. Later versions mark the node as disabled.
FORBIDDEN_COST = 1e10
# Run with the settings of a scan, by `Database.fetch_scan`, by the owner, or on a cluster (tests/citus).
AS_SCANS = (
    "queries/adopt",
    "queries/citus",
    "queries/from_messages",
    "queries/report/from_messages",
    "queries/watch",
    "queries/differences",
    "queries/disposable",
    "queries/rebuild",
    "queries/control/repair_held",
    # Utility statements, which have no plan.
    "queries/primary",
)


def of_the_service() -> Iterator[str]:
    for path in sorted([*sql_path("queries").rglob("*.sql"), sql_path("tokens/valid.sql")]):
        name = str(Path(path).relative_to(sql_path()).with_suffix(""))
        if not name.startswith(AS_SCANS):
            yield name


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@pytest.mark.parametrize("name", list(of_the_service()))
async def test_the_plan_of_a_statement_of_the_service_has_no_jit_and_no_disabled_node(
    database: TestDatabase, name: str
) -> None:
    asked = load_statement(name)
    connection = await asyncpg.connect(database.service_url)
    try:
        types = f"({', '.join(asked.types[each] for each in asked.order)})" if asked.order else ""
        await connection.execute(f"PREPARE asked {types} AS {asked.sql}")
        values = f"({', '.join('NULL' for _ in asked.order)})" if asked.order else ""
        (explained,) = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked {values}"))
    finally:
        await connection.close()

    assert "JIT" not in explained
    for node in nodes(explained["Plan"]):
        assert node["Total Cost"] < FORBIDDEN_COST, node
        assert not node.get("Disabled"), node
