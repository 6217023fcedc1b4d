"""Looks at a live database and says in plain words what a DBA should mend; every check is a file of sql/doctor/.

Our own invariants alone: bloat, disk and clock are what other tools of a DBA tell.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from service.cluster.distribute import cluster_state
from service.db import connect, fetch, load_statement
from service.db.address import at_host
from service.errors import CommandError
from service.schema.migrate import pending_changes

CHECKS = (
    *("version", "messages", "triggers", "baseline", "negative", "keys", "groupings", "epochs"),
    *("drift", "pending", "old_snapshot", "autovacuum", "indexes", "rights", "role"),
)


class Severity(IntEnum):
    """How bad a finding is; the worst one is the exit code of `queuestats doctor`."""

    NOTE = 0
    WARNING = 3
    ERROR = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and what a DBA can do about it."""

    check: str
    severity: Severity
    finding: str
    advice: str


async def examine(
    connection: Any, service_role: str, tell: Callable[[str], None] = lambda check: None, owner_url: str = ""
) -> list[Finding]:
    """Every finding, in the order of the checks; none where all is well. `connection` is the owner's.

    `tell` hears the name of each check that is made.

    It reads a sample of the messages: only `verify` tells whether the counts are right in every case. Of a distributed
    queue it looks whether each node at `owner_url` answers and has counted its shards.
    """
    tell("schema")
    changes = await pending_changes(connection)
    if changes:
        finding = f"the schema is not this version's; to do: {', '.join(changes)}"
        return [Finding("schema", Severity.ERROR, finding, "Run queuestats migrate.")]
    if reasons := await fetch(connection, "queries/uncountable"):
        advice = "Nothing is answered until that is changed; then run queuestats migrate and verify --repair."
        return [Finding("messages", Severity.ERROR, each["reason"], advice) for each in reasons]
    if (await cluster_state(connection))["is_distributed"]:
        return await _examine_nodes(connection, owner_url, tell)
    has_statements = await connection.fetchval("SELECT to_regclass('pg_stat_statements') IS NOT NULL")
    findings: list[Finding] = []
    for check in (*CHECKS, "statements") if has_statements else CHECKS:
        tell(check)
        findings += await _run(connection, check, service_role)
    return findings


async def _examine_nodes(connection: Any, owner_url: str, tell: Callable[[str], None]) -> list[Finding]:
    findings = []
    for node in await fetch(connection, "queries/citus/nodes"):
        name = f"{node['host']}:{node['port']}"
        tell(f"node {name}")
        try:
            async with connect(at_host(owner_url, node["host"], node["port"])) as node_connection:
                ((uncounted,),) = await fetch(node_connection, "queries/citus/uncounted")
        except CommandError as error:
            findings.append(
                Finding(f"node {name}", Severity.ERROR, f"It does not answer: {error}", "Bring the node up.")
            )
            continue
        if uncounted:
            finding = f"{uncounted} of its shards are not counted yet: their messages are read for each answer"
            findings.append(
                Finding(f"node {name}", Severity.WARNING, finding, "Run queuestats migrate; the service does it too.")
            )
    return findings


async def _run(connection: Any, check: str, service_role: str) -> list[Finding]:
    parameters = dict.fromkeys(load_statement(f"doctor/{check}").types, service_role)
    return [
        Finding(check, Severity[row["severity"].upper()], row["finding"], row["advice"])
        for row in await fetch(connection, f"doctor/{check}", **parameters)
    ]
