"""`queuestats doctor`: all conditions of a live database, and of every node of a cluster."""

from service.cluster.commands import counted_nodes
from service.counters.health import CHEAP, CONDITIONS, CONTRACT, NODE, PROBE, SCHEMA, Finding, Progress, examine
from service.counters.nodes import examine_node
from service.counters.readiness import probe
from service.db import Connection, Database, in_words
from service.errors import CommandError, ServiceError
from service.schema.contract import contract_mismatch
from service.schema.migrate import pending_changes
from service.schema.roles import login
from service.settings import Settings


async def diagnose(
    connection: Connection,
    owner_url: str,
    settings: Settings,
    progress: Progress = lambda condition, node: None,
    *,
    is_quick: bool = False,
) -> list[Finding]:
    """All findings, the errors first. `connection` is the owner's, to `owner_url`.

    It reads only some messages; `verify` finds all drift. `is_quick` omits costly conditions. `progress` is called with
    the name of each condition, and the node of a cluster, before it is examined.
    """
    service_url = settings.database_url or owner_url
    progress(SCHEMA.name, "")
    changes = await pending_changes(connection)
    findings = [SCHEMA.found(f"to do: {', '.join(changes)}")] if changes else []
    progress(CONTRACT.name, "")
    if mismatch := await contract_mismatch(connection):
        findings.append(CONTRACT.found(mismatch))
    # A look-up in the catalog: without this table there is nothing to examine.
    if not await connection.fetchval("SELECT to_regclass('queuestats.counters') IS NOT NULL"):
        return findings
    progress(PROBE.name, "")
    findings += await _try_as_service(settings, service_url)
    role = login(service_url)[0]
    nodes = [node for node in await counted_nodes(connection, owner_url) if node.url]
    # The coordinator of a cluster counts nothing, so it has no counters to read.
    conditions = CHEAP if is_quick or nodes else CONDITIONS
    findings += await examine(connection, role, settings.connections, conditions, progress)
    for node in nodes:
        progress(NODE.name, node.name)
        try:
            async with node.connect(connection) as at_node:
                findings += await examine_node(at_node, node.name, role, settings.connections, conditions, progress)
        except CommandError as error:
            findings.append(NODE.found(str(error), node=node.name))
    return sorted(findings, key=lambda finding: -finding.severity)


async def _try_as_service(settings: Settings, service_url: str) -> list[Finding]:
    async with Database(settings, service_url, pool_size=1) as database:
        try:
            await probe(database)
        except ServiceError as error:
            return [PROBE.found(in_words(error))]
    return []
