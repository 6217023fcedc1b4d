"""The one list of conditions of health: what finds a condition, what it means for answers, and what to do about it.

Each is a file of sql/conditions/. `queuestats doctor`, `migrate --check`, `/readyz`, `/metrics`, `/conditions` and
docs/health.md are views of this list.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from service.db import Connection, PostgresError, fetch, in_words, is_disconnect, load_statement


class Severity(IntEnum):
    """How bad a condition is. The worst one found is the exit code of `queuestats doctor`."""

    NOTE = 0
    WARNING = 3
    ERROR = 4


@dataclass(frozen=True, slots=True)
class Condition:
    """`meaning`: for answers. `is_refusal`: `stats` can get 503 for it. `is_costly`: only `doctor` looks for it.

    `sql/conditions/<name>.sql` returns a row for each finding: `finding`, and `command` or NULL.
    """

    name: str
    severity: Severity
    meaning: str
    advice: str
    is_refusal: bool = False
    is_costly: bool = False

    def found(self, finding: str, command: str | None = None) -> "Finding":
        advice = self.advice if command is None else f"{self.advice} {command}"
        return Finding(self.name, self.severity, finding, self.meaning, advice)


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition that was found, and what to do about it."""

    condition: str
    severity: Severity
    finding: str
    meaning: str
    advice: str


RIGHT = "Answers are right."
REFUSED = "Requests get 503."
NOTE, WARNING, ERROR = Severity.NOTE, Severity.WARNING, Severity.ERROR

# Conditions that are found by trying, and not by a statement.
PROBE = Condition(
    *("probe", ERROR, REFUSED, "Do what the finding says: a query of stats was run as the service, and failed."),
    is_refusal=True,
)
CONTRACT = Condition(
    *(
        "contract",
        ERROR,
        "A request that needs what the database lacks gets 503.",
        "Run queuestats migrate, or a service of the version that migrated the database.",
    ),
    is_refusal=True,
)
POOLER = Condition(
    *("pooler", ERROR, REFUSED),
    "Set QUEUESTATS_PREPARED_STATEMENTS=off, or max_prepared_statements of PgBouncer 1.21 or later.",
    is_refusal=True,
)
UNEXAMINED = Condition(
    *("unexamined", ERROR, "Conditions that were not examined may hold."),
    "Do what the finding says, and look again.",
)
SCHEMA = Condition(
    *("schema", ERROR, "A service of the former release goes on; one that needs what is missing answers 503."),
    "Run queuestats migrate.",
)
NODE = Condition(
    *("node", ERROR, "Requests for senders of this node get 503, or are slow while it is counted."),
    "Start the node. If it answers, the service counts its messages anew; queuestats migrate does too.",
)
CONDITIONS = (
    Condition(
        *("standby", ERROR, REFUSED, "Take the address of the primary, or of both servers."),
        is_refusal=True,
    ),
    Condition(
        *("uncountable", ERROR, REFUSED, "Change the table as the finding says; then run queuestats migrate."),
        is_refusal=True,
    ),
    Condition(
        *("triggers", ERROR, REFUSED),
        "Run queuestats migrate: it attaches the triggers and counts all messages anew, while writers go on.",
        is_refusal=True,
    ),
    Condition(
        *("untrusted", ERROR, REFUSED),
        "The service counts all messages anew if it can; queuestats migrate does too.",
        is_refusal=True,
    ),
    Condition(
        *("service_rights", ERROR, "Requests that need the right get 503."),
        "Run queuestats migrate, which creates the role and grants its rights.",
        is_refusal=True,
    ),
    Condition(
        *("login", ERROR, "Requests get 503 as soon as the service needs a new connection."),
        "Change the role as the command says, as a superuser or a role with CREATEROLE.",
    ),
    Condition(
        *("time_limit", ERROR, "Requests that take longer get 504."),
        "Raise the limit, as a superuser or the role itself.",
        is_refusal=True,
    ),
    Condition(
        *("objects", ERROR, "Requests that need it get 503, or become slow without an index."),
        "Run queuestats migrate; build an index of messages, which migrate leaves alone, with the command.",
        is_refusal=True,
    ),
    Condition(
        *("owner", ERROR, "Folds, jobs and repairs fail; answers become slower."),
        "Give it back to the owner, as a superuser; then run queuestats migrate.",
        is_refusal=True,
    ),
    Condition(
        *("exposed", ERROR, "Answers are right until another role calls such a function."),
        "Run queuestats migrate, which revokes it.",
    ),
    Condition(*("foreign_triggers", ERROR, RIGHT, "Drop the trigger: each write to that table fails.")),
    Condition(
        *("drift", ERROR, "Answers are right: they come from the messages until the senders are counted anew."),
        "The service counts them anew. Run queuestats verify, and look for writes that bypass the triggers.",
    ),
    Condition(
        *("suspects", ERROR, "Answers for these senders may be wrong."),
        "Repair them, and look for writes that bypass the triggers.",
        is_costly=True,
    ),
    Condition(
        *("sample", ERROR, "Answers for these senders are wrong."),
        "Repair them, run queuestats verify, and look for writes that bypass the triggers.",
        is_costly=True,
    ),
    Condition(
        *("statuses", ERROR, "Answers lack these messages."),
        "Give them one of the four statuses.",
    ),
    Condition(
        *("keys", ERROR, "Reports add the two keys up."),
        "Write one of them in another way in the mapping, and run the command.",
    ),
    Condition(
        *("row_security_forced", ERROR, "Answers are right; a recount fails."),
        "Take the policies off the owner.",
    ),
    Condition(
        *("autovacuum", ERROR, "Answers are right, and become slower with each message."),
        "Switch it on: dead rows of a queue are never removed without it.",
    ),
    Condition(
        *("invalid_indexes", ERROR, "Answers are right and may be slow; each write still pays for the index."),
        "Build it again, or drop what a concurrent build has left.",
    ),
    Condition(
        *("background", ERROR, "Answers are right and become slower; holds and expiries wait."),
        "See that the service runs, and read its log.",
    ),
    Condition(
        *("other_cluster", ERROR, "Answers are right; the jobs wait for ever."),
        "Run the command: a dump from another cluster was restored with open work in it.",
    ),
    Condition(
        *("server_fault", ERROR, "Answers are wrong after such a statement."),
        "Update to 15.16, 16.12, 17.8, 18.2 or later; until then write no such statement to messages.",
    ),
    Condition(
        *("uncounted", WARNING, "Answers are right and slow: they come from the messages."),
        "The service counts all messages anew, while writers go on; queuestats migrate does too.",
    ),
    Condition(
        *("partial_triggers", WARNING, "Answers lack what is written with session_replication_role = replica."),
        "Run queuestats migrate: it enables the triggers ALWAYS and counts all messages anew, while writers go on.",
    ),
    Condition(
        *("verification", WARNING, "Answers of senders that differed were wrong."),
        "Run the command; with --repair it counts anew what differs.",
    ),
    Condition(
        *("login_ends", WARNING, "Answers are right until then."),
        "Change the password: docs/deployment.md.",
    ),
    Condition(
        *("settings", WARNING, "Answers are right, and may be slow or hold locks for long."),
        "Set it for the role in this database.",
    ),
    Condition(*("privileged", WARNING, RIGHT, "Take the right away: the service needs to read, and to fold.")),
    Condition(*("unlogged", WARNING, "Answers are wrong after a crash.", "Make the table logged.")),
    Condition(
        *("row_security", WARNING, "Answers are right; a policy that hides messages from the owner stops a recount."),
        "See that no policy applies to the owner.",
    ),
    Condition(
        *("pending", WARNING, "Answers are right and become slower."),
        "See that the service runs; by hand, run the command.",
    ),
    Condition(
        *("old_snapshot", WARNING, "Answers are right and become slower: dead rows pile up, in messages too."),
        "End it, or set idle_in_transaction_session_timeout.",
    ),
    Condition(
        *("stuck_jobs", WARNING, RIGHT),
        "See queuestats jobs and the service's log. The command ends the job; what it has changed stays.",
    ),
    Condition(
        *("replica_identity", WARNING, "Folds fail, or writes to messages do."),
        "Run the command as the owner.",
    ),
    Condition(*("server_version", WARNING, RIGHT, "Take one of them: the tests run on no other.")),
    Condition(*("slow_statements", NOTE, RIGHT, "The command shows the plan."), is_costly=True),
)
CHEAP = tuple(condition for condition in CONDITIONS if not condition.is_costly)
# What a process of the service looks for.
SERVED = (SCHEMA, CONTRACT, POOLER, PROBE, UNEXAMINED, *CHEAP)


async def examine(
    connection: Connection,
    service_role: str,
    connections: int = 1,
    conditions: Iterable[Condition] = CONDITIONS,
    progress: Callable[[str], None] = lambda condition: None,
) -> list[Finding]:
    """What is found, in the order of the conditions; nothing where all is well. Any role of ours may ask.

    `connections`: how many a process of the service opens. `progress` is called with the name of each condition first.
    Conditions that can't be examined are findings of UNEXAMINED, one for each cause.
    """
    # The catalog says whether the extension is there.
    has_statements = await connection.fetchval("SELECT to_regclass('pg_stat_statements') IS NOT NULL")
    given: dict[str, str | int] = {"service_role": service_role, "connections": connections}
    findings: list[Finding] = []
    unexamined: dict[str, list[str]] = {}
    for condition in conditions:
        if condition.name == "slow_statements" and not has_statements:
            continue
        progress(condition.name)
        try:
            findings += await _find(connection, condition, given)
        except PostgresError as error:
            if is_disconnect(error):
                raise
            unexamined.setdefault(in_words(error), []).append(condition.name)
    return findings + [UNEXAMINED.found(f"{', '.join(names)}: {cause}") for cause, names in unexamined.items()]


async def _find(connection: Connection, condition: Condition, given: dict[str, str | int]) -> Sequence[Finding]:
    name = f"conditions/{condition.name}"
    rows = await fetch(connection, name, **{wanted: given[wanted] for wanted in load_statement(name).types})
    return [condition.found(row["finding"], row["command"]) for row in rows]
