"""The list of health conditions: how a condition is found, its effect on responses, and the remedy.

Each condition is a file of sql/conditions/. `queuestats doctor`, `migrate --check`, `/readyz`, `/metrics`,
`/conditions` and docs/health.md are views of this list.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TypeAlias

from service.db import Connection, PostgresError, Statement, in_words, is_disconnect, load_statement


class Severity(IntEnum):
    """The severity of a condition. The worst finding is the exit code of `queuestats doctor`."""

    NOTE = 0
    WARNING = 3
    ERROR = 4


@dataclass(frozen=True, slots=True)
class Condition:
    """`meaning`: the effect on responses. `is_refusal`: `stats` can be 503. `is_costly`: only `doctor` examines it.

    `sql/conditions/<name>.sql` returns a row for each finding: `finding`, and `command` or NULL.
    """

    name: str
    severity: Severity
    meaning: str
    advice: str
    is_refusal: bool = False
    is_costly: bool = False

    @property
    def is_of_node(self) -> bool:
        """Whether each node of a cluster is examined too. The others are of the queue as a whole, or of holds."""
        return self.name in OF_NODE

    def found(self, finding: str, command: str | None = None, node: str = "") -> "Finding":
        advice = self.advice if command is None else f"{self.advice} {command}"
        return Finding(self.name, self.severity, finding, self.meaning, advice, node)


@dataclass(frozen=True, slots=True)
class Finding:
    """One occurrence of a condition, and the remedy."""

    condition: str
    severity: Severity
    finding: str
    meaning: str
    advice: str
    node: str = ""
    """The address of the node of a cluster that has it. Empty: the database itself."""

    @property
    def place(self) -> str:
        """The condition, with the node if there is one, for a person."""
        return f"{self.condition} at {self.node}" if self.node else self.condition


# Gets the name of a condition, and the node that is examined.
Progress: TypeAlias = Callable[[str, str], None]

RIGHT = "Reports are right."
REFUSED = "Requests get 503."
NOTE, WARNING, ERROR = Severity.NOTE, Severity.WARNING, Severity.ERROR

# Conditions that are found by a test, and not by a statement.
PROBE = Condition(
    *("probe", ERROR, REFUSED, "Correct the error in the finding."),
    is_refusal=True,
)
CONTRACT = Condition(
    *(
        "contract",
        ERROR,
        "Requests that need a missing object of the database get 503.",
        "Run queuestats migrate, or use the version of the service that last migrated the database.",
    ),
    is_refusal=True,
)
POOLER = Condition(
    *("pooler", ERROR, REFUSED),
    "Set QUEUESTATS_PREPARED_STATEMENTS=off, or max_prepared_statements of PgBouncer 1.21 or later.",
    is_refusal=True,
)
UNEXAMINED = Condition(
    *("unexamined", ERROR, "Conditions that were not examined may exist."),
    "Correct the error in the finding, and run queuestats doctor again.",
)
SCHEMA = Condition(
    *(
        "schema",
        ERROR,
        "Instances of the previous release continue; instances that need the missing objects return 503.",
    ),
    "Run queuestats migrate.",
)
# Of a node of a cluster.
NODE = Condition(
    *("node", ERROR, "Requests for senders of this node get 503."),
    "Start the node, or make it reachable. When it responds, the service uses it again.",
)
SHARDS = (
    Condition(
        *("shard_triggers", ERROR, f"{RIGHT} They are slow, because the service scans the messages of the shard."),
        "The service attaches the triggers and counts the shard. To do so at once, run queuestats migrate.",
    ),
    Condition(
        *("shard_uncounted", WARNING, f"{RIGHT} They are slow, because the service scans the messages of the shard."),
        "The service counts the shard, while writers continue. To count at once, run queuestats migrate.",
    ),
    Condition(
        *("shard_holds", WARNING, f"{RIGHT} Holds, releases and purges of senders of the shard get 503."),
        "Start the other nodes, or make them reachable. The service then brings the holds and jobs to this node.",
    ),
    Condition(
        *("shard_left", WARNING, f"{RIGHT} Lists of the largest senders of all nodes get 503."),
        "The service deletes the counts. To delete them at once, run queuestats migrate.",
    ),
)
# The names of the conditions of one machine that apply to each node.
OF_NODE = frozenset(
    (
        *("standby", "service_rights", "login", "time_limit", "objects", "owner", "exposed", "autovacuum"),
        *("invalid_indexes", "server_fault", "login_ends", "settings", "unlogged", "pending", "old_snapshot"),
        *("replica_identity", "server_version"),
    )
)
CONDITIONS = (
    Condition(
        *("standby", ERROR, REFUSED, "Use the address of the primary, or the addresses of both servers."),
        is_refusal=True,
    ),
    Condition(
        *("uncountable", ERROR, REFUSED, "Change the table as the finding describes; then run queuestats migrate."),
        is_refusal=True,
    ),
    Condition(
        *("triggers", ERROR, REFUSED),
        "Run queuestats migrate: it attaches the triggers and recounts all messages, while writers continue.",
        is_refusal=True,
    ),
    Condition(
        *("untrusted", ERROR, REFUSED),
        "The service recounts all messages if it can. To recount at once, run queuestats migrate.",
        is_refusal=True,
    ),
    Condition(
        *("service_rights", ERROR, "Requests that need the missing right get 503."),
        "Run queuestats migrate, which creates the role and grants its rights.",
        is_refusal=True,
    ),
    Condition(
        *("login", ERROR, "Requests get 503 as soon as the service needs a new connection."),
        "Run the command as a superuser. The owner of the database can also change its CONNECTION LIMIT.",
    ),
    Condition(
        *("time_limit", ERROR, "Requests that take longer than this limit get 504."),
        "Raise the limit, as a superuser or as the service's role.",
        is_refusal=True,
    ),
    Condition(
        *(
            "objects",
            ERROR,
            "Requests that need the missing object get 503. If an index is missing, requests become slow.",
        ),
        "Run queuestats migrate. It does not build indexes of messages: build these indexes with the command.",
        is_refusal=True,
    ),
    Condition(
        *("owner", ERROR, "Folds, jobs and repairs fail; responses become slower."),
        "Run the command as a superuser; then run queuestats migrate.",
        is_refusal=True,
    ),
    Condition(
        *("exposed", ERROR, "Reports are right until another role calls such a function."),
        "Run queuestats migrate, which revokes the right.",
    ),
    Condition(*("foreign_triggers", ERROR, RIGHT, "Drop the trigger: until then, each write to the table fails.")),
    Condition(
        *("drift", ERROR, "Reports are right: they come from the messages until the senders are recounted."),
        "The service recounts these senders. Run queuestats verify, and look for writes that bypass the triggers.",
    ),
    Condition(
        *("suspects", ERROR, "Reports on these senders may be wrong."),
        "Run the command, which repairs the counts, and look for writes that bypass the triggers.",
        is_costly=True,
    ),
    Condition(
        *("sample", ERROR, "Reports on these senders are wrong."),
        "Repair the counts with the command, run queuestats verify, and look for writes that bypass the triggers.",
        is_costly=True,
    ),
    Condition(
        *("statuses", ERROR, "Reports do not count messages with such a status."),
        "Change the status of these messages to new, proc, retry or hold.",
    ),
    Condition(
        *("keys", ERROR, "Reports add up the counts of the two texts."),
        "Change the mapping so that one of the texts differs, and run the command.",
    ),
    Condition(
        *("row_security_forced", ERROR, "Reports are right; a recount fails."),
        "Exempt the owner from the policies.",
    ),
    Condition(
        *("autovacuum", ERROR, "Reports are right; responses become slower over time."),
        "Turn the setting on: if it is off, dead rows of a queue are never removed.",
    ),
    Condition(
        *("invalid_indexes", ERROR, "Reports are right; responses may be slow, and writes still maintain the index."),
        "Run the command, which rebuilds the index, or drops the invalid index of a failed concurrent build.",
    ),
    Condition(
        *("background", ERROR, "Reports are right; responses become slower, and holds and their expiry are delayed."),
        "Make sure that the service runs, and read its log.",
    ),
    Condition(
        *("other_cluster", ERROR, "Reports are right; responses become slower."),
        "Run the command, which recounts the sender.",
    ),
    Condition(
        *("server_fault", ERROR, "Reports are wrong after such a statement."),
        "Update to 15.16, 16.12, 17.8, 18.2 or later; until then, do not run such statements on messages.",
    ),
    Condition(
        *("uncounted", WARNING, "Reports are right; responses are slow, because they come from scans of the messages."),
        "The service recounts all messages, while writers continue. To recount at once, run queuestats migrate.",
    ),
    Condition(
        *(
            "partial_triggers",
            WARNING,
            "Counts do not include changes that are written with session_replication_role = replica.",
        ),
        "Run queuestats migrate: it enables the triggers ALWAYS and recounts all messages, while writers continue.",
    ),
    Condition(
        *("verification", WARNING, "Reports on senders with differences were wrong."),
        "Run the command. With --repair, it recounts the senders with differences.",
    ),
    Condition(
        *("login_ends", WARNING, "Reports are right until then; afterwards, new connections fail."),
        "Change the password as docs/deployment.md describes.",
    ),
    Condition(
        *(
            "settings",
            WARNING,
            "Reports are right; responses may be slow, and statements may hold locks for a long time.",
        ),
        "Change the setting for the role in this database.",
    ),
    Condition(
        *("privileged", WARNING, RIGHT),
        "Run the command. If the right comes from PUBLIC or another role, revoke it from PUBLIC or from that role.",
    ),
    Condition(*("unlogged", WARNING, "Reports are wrong after a crash.", "Make the table logged.")),
    Condition(
        *("row_security", WARNING, "Reports are right; a recount fails if a policy hides messages from the owner."),
        "Make sure that no policy applies to the owner.",
    ),
    Condition(
        *("pending", WARNING, "Reports are right; responses become slower."),
        "Make sure that the service runs. To fold at once, run the command.",
    ),
    Condition(
        *(
            "old_snapshot",
            WARNING,
            "Reports are right; responses become slower, because dead rows accumulate, also in messages.",
        ),
        "Run the command, which ends the session or the prepared transaction, or drop the unused replication slot.",
    ),
    Condition(
        *("stuck_jobs", WARNING, RIGHT),
        "See queuestats jobs and the service's log. The command cancels the job; changed messages are not restored.",
    ),
    Condition(
        *("replica_identity", WARNING, "Folds fail, or writes to messages fail."),
        "Run the command as the owner.",
    ),
    Condition(*("server_version", WARNING, RIGHT, "Use a major release of PostgreSQL that the tests run on.")),
    Condition(*("slow_statements", NOTE, RIGHT, "Run the command to see the plan of the statement."), is_costly=True),
)
CHEAP = tuple(condition for condition in CONDITIONS if not condition.is_costly)
# The conditions that a process of the service can examine.
SERVED = (SCHEMA, CONTRACT, POOLER, PROBE, UNEXAMINED, NODE, *SHARDS, *CHEAP)


def statement_of(condition: str) -> Statement:
    """The statement of a condition, by its name, for one machine or the coordinator of a cluster."""
    return load_statement(f"conditions/{condition}")


async def examine(
    connection: Connection,
    service_role: str,
    connections: int = 1,
    conditions: Iterable[Condition] = CONDITIONS,
    progress: Progress = lambda condition, node: None,
    load: Callable[[str], Statement] = statement_of,
    node: str = "",
) -> list[Finding]:
    """The findings, in the order of the conditions. The owner and the service's role may call it.

    `connections`: the number of connections that an instance of the service opens, with all its workers. `progress`
    is called with the name of each condition, and with `node`, before it is examined. Conditions that can't be examined
    are findings of UNEXAMINED, one for each cause. `load`: the statement of a condition, by its name.
    """
    # A look-up in the catalog: the extension may be missing.
    has_statements = await connection.fetchval("SELECT to_regclass('pg_stat_statements') IS NOT NULL")
    given: dict[str, str | int] = {"service_role": service_role, "connections": connections}
    findings: list[Finding] = []
    unexamined: dict[str, list[str]] = {}
    for condition in conditions:
        if condition.name == "slow_statements" and not has_statements:
            continue
        progress(condition.name, node)
        try:
            findings += await _find(connection, condition, load(condition.name), given)
        except PostgresError as error:
            if is_disconnect(error):
                raise
            unexamined.setdefault(in_words(error), []).append(condition.name)
    findings += [UNEXAMINED.found(f"{', '.join(names)}: {cause}") for cause, names in unexamined.items()]
    return [replace(finding, node=node) for finding in findings]


async def _find(
    connection: Connection, condition: Condition, statement: Statement, given: dict[str, str | int]
) -> Sequence[Finding]:
    values = statement.bind({wanted: given[wanted] for wanted in statement.types})
    rows = await connection.fetch(statement.sql, *values)
    return [condition.found(row["finding"], row["command"]) for row in rows]
