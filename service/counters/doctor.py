"""Looks at a live database and says in plain words what a DBA should mend; every check is a file of sql/doctor/.

Our own invariants alone: bloat, disk and clock are what other tools of a DBA tell.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from service.db import load_statement
from service.schema.migrate import pending_changes

CHECKS = (
    "version",
    "messages",
    "triggers",
    "baseline",
    "negative",
    "groupings",
    "epochs",
    "drift",
    "pending",
    "old_snapshot",
    "autovacuum",
    "indexes",
    "rights",
    "role",
)
# Checks that need an extension, and are left out where it is missing.
WITH_EXTENSION = {"statements": "pg_stat_statements"}


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
    connection: Any, service_role: str, tell: Callable[[str], None] = lambda check: None
) -> list[Finding]:
    """Every finding, in the order of the checks; none where all is well. `connection` is the owner's.

    `tell` hears the name of each check that is made.

    It reads a sample of the messages: only `verify` tells whether the counts are right in every case.
    """
    tell("schema")
    changes = await pending_changes(connection)
    if changes:
        finding = f"the schema is not this version's; to do: {', '.join(changes)}"
        return [Finding("schema", Severity.ERROR, finding, "Run queuestats migrate.")]
    reasons = await connection.fetch(load_statement("queries/uncountable").sql)
    if reasons:
        advice = "Nothing is answered until that is changed; then run queuestats migrate and verify --repair."
        return [Finding("messages", Severity.ERROR, each["reason"], advice) for each in reasons]
    extensions = {row["name"] for row in await connection.fetch(load_statement("doctor/extensions").sql)}
    checks = [*CHECKS, *(check for check, extension in WITH_EXTENSION.items() if extension in extensions)]
    parameters = {"service_role": service_role}
    findings: list[Finding] = []
    for check in checks:
        tell(check)
        findings += await _run(connection, check, parameters)
    return findings


async def _run(connection: Any, check: str, parameters: dict[str, Any]) -> Sequence[Finding]:
    statement = load_statement(f"doctor/{check}")
    values = statement.bind({name: parameters[name] for name in statement.types})
    return [
        Finding(check, Severity[row["severity"].upper()], row["finding"], row["advice"])
        for row in await connection.fetch(statement.sql, *values)
    ]
