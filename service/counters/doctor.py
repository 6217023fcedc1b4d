"""Looks at a live database and says in plain words what a DBA should mend; every check is a file of sql/doctor/.

Our own invariants alone: a DBA has other tools for bloat, disk and clock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from service.cluster.commands import counted_nodes
from service.db import Connection, fetch, load_statement
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
    connection: Connection, service_role: str, progress: Callable[[str], None] = lambda check: None, owner_url: str = ""
) -> list[Finding]:
    """Every finding, in the order of the checks; none where all is well. `connection` is the owner's.

    `progress` is called with the name of a check before it is made. Only a sample of the messages is read: drift is
    found by `verify` in every case. Of a node of a cluster one check is made: whether it answers and is counted.
    """
    progress("schema")
    changes = await pending_changes(connection)
    if changes:
        finding = f"the schema is not this version's; to do: {', '.join(changes)}"
        return [Finding("schema", Severity.ERROR, finding, "Run queuestats migrate.")]
    if reasons := await fetch(connection, "queries/uncountable"):
        advice = "Nothing is answered until that is changed; then run queuestats migrate and verify --repair."
        return [Finding("messages", Severity.ERROR, row["reason"], advice) for row in reasons]
    # The catalog says whether the extension is there.
    has_statements = await connection.fetchval("SELECT to_regclass('pg_stat_statements') IS NOT NULL")
    names = (*CHECKS, "statements") if has_statements else CHECKS
    findings: list[Finding] = []
    for node in await counted_nodes(connection, owner_url):
        for check, statement in node.checks(names).items():
            progress(check)
            try:
                async with node.connect(connection) as node_connection:
                    findings += await _run(node_connection, check, statement, service_role)
            except CommandError as error:
                findings.append(Finding(check, Severity.ERROR, f"It does not answer: {error}", "Bring the node up."))
    return findings


async def _run(connection: Connection, check: str, statement: str, service_role: str) -> list[Finding]:
    rows = await fetch(connection, statement, **dict.fromkeys(load_statement(statement).types, service_role))
    return [Finding(check, Severity[row["severity"].upper()], row["finding"], row["advice"]) for row in rows]
