"""Scratch databases: on a temporary server, one that its owner has marked disposable, or new ones of a cluster."""

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from msgspec.structs import replace

from service.cluster.distribute import bring_up_nodes, distribute
from service.db import Connection, connect, fetch, require_disposable
from service.db.address import at_host, of_database, with_search_path
from service.embedded import EmbeddedServer
from service.embedded.server import OWNER
from service.errors import CommandError
from service.resources import sql_path
from service.schema import migrate
from service.settings import Settings
from service.workbench.bench.report import Progress

# Durable as in production; the buffers are a quarter of the memory, the initial value of PostgreSQL's manual.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_wal_size": "8GB"}
MAX_BUFFERS_MB = 8192


@contextmanager
def open_scratch(settings: Settings, *, is_migrated: bool = True) -> Iterator[Settings]:
    """Settings with both addresses of a database that may be overwritten, by default migrated.

    It is the database of `settings` if they have an address. Otherwise a server is started in /var/tmp or TMPDIR, and
    removed at the end. Raises CommandError if the given database is not marked disposable.
    """
    if settings.owner_url is not None:
        asyncio.run(_require_disposable(settings.owner_url))
        asyncio.run(migrate(settings.owner_url, settings.database_url, messages_schema=settings.messages_schema))
        yield replace(settings, admin_database_url=with_search_path(settings.owner_url, settings.messages_schema))
        return
    # On a disk: /tmp may be in memory.
    disk = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="queuestats-bench-", dir=disk, ignore_cleanup_errors=True) as folder:
        # As root, the server runs as another user, which must be able to enter; its data folder is private to the user.
        Path(folder).chmod(0o755)
        memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        options = {**DURABLE, "shared_buffers": f"{min(MAX_BUFFERS_MB, max(128, memory_mb // 4))}MB"}
        with EmbeddedServer(Path(folder, "data"), options=options) as server:
            if is_migrated:
                asyncio.run(migrate(server.owner_url, server.service_url))
            asyncio.run(_mark_disposable(server))
            yield replace(settings, database_url=server.service_url, admin_database_url=server.owner_url)


@asynccontextmanager
async def open_cluster(settings: Settings, progress: Progress, shards: int) -> AsyncIterator[tuple[Settings, Settings]]:
    """Settings of a distributed queue in new databases of a Citus cluster, and of a plain queue on its first worker.

    `settings` have the addresses of a database on the coordinator, which is not changed. The new databases are dropped
    at the end. Raises CommandError if that database is not marked disposable, or has no Citus or no worker.
    """
    if settings.owner_url is None:
        raise CommandError("It needs the addresses of a database on a Citus coordinator.")
    url, name = settings.owner_url or "", f"queuestats_bench_{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connect(url))
        await require_disposable(connection, must_be_migrated=False)
        has_citus = await connection.fetchval("SELECT to_regclass('pg_catalog.pg_dist_node')")
        nodes = await fetch(connection, "bench/citus/nodes") if has_citus else []
        workers = [on_node(settings, node["host"], node["port"]) for node in nodes if not node["is_coordinator"]]
        if not workers:
            raise CommandError("This database is not that of a Citus coordinator that has workers (citus_add_node).")
        made = [await stack.enter_async_context(_new_database(at, name)) for at in (settings, *workers)]
        for at in made:
            async with connect(at.owner_url or "") as scratch:
                await fetch(scratch, "bench/citus/extension")
        cluster = made[0]
        async with connect(cluster.owner_url or "") as scratch:
            for node in nodes:
                await fetch(scratch, "bench/citus/join", **node)
        await migrate(cluster.owner_url or "", cluster.database_url)
        await distribute(cluster.owner_url or "", shards, progress)
        await bring_up_nodes(cluster.owner_url or "", cluster.database_url, lambda done: None)
        plain = await stack.enter_async_context(_new_database(workers[0], f"{name}_plain"))
        await migrate(plain.owner_url or "", plain.database_url)
        yield cluster, plain


def on_node(settings: Settings, host: str, port: int) -> Settings:
    """The same database on another server."""
    service, owner = (at_host(url or "", host, port) for url in (settings.database_url, settings.owner_url))
    return replace(settings, database_url=service, admin_database_url=owner)


@asynccontextmanager
async def _new_database(settings: Settings, name: str) -> AsyncIterator[Settings]:
    """The addresses of a database on the server of `settings`, until the end of the block."""
    service, owner = (of_database(url or "", name) for url in (settings.database_url, settings.owner_url))
    async with connect(settings.owner_url or "") as connection:
        (statements,) = await fetch(connection, "bench/citus/databases", database=name)
        try:
            await connection.execute(statements["creating"])
            yield replace(settings, database_url=service, admin_database_url=owner)
        finally:
            await connection.execute(statements["dropping"])


@asynccontextmanager
async def created(connection: Connection, *folders: str) -> AsyncIterator[None]:
    """Runs `create.sql` of these folders of sql/, and at the end their `drop.sql`."""
    try:
        await run_files(connection, "create", folders)
        yield
    finally:
        await run_files(connection, "drop", folders)


async def run_files(connection: Connection, name: str, folders: Iterable[str]) -> None:
    for folder in folders:
        await connection.execute(sql_path(folder, f"{name}.sql").read_text("utf-8"))


async def vacuum(connection: Connection) -> None:
    """Removes dead rows and, if the role may run CHECKPOINT, unwritten pages, which would slow down the next run."""
    await fetch(connection, "bench/vacuum")
    # Commands for the session and its rights, independent of our tables.
    if await connection.fetchval("SELECT pg_has_role(current_user, 'pg_checkpoint', 'USAGE')"):
        await connection.execute("CHECKPOINT")


async def _require_disposable(url: str) -> None:
    async with connect(url) as connection:
        await require_disposable(connection, must_be_migrated=False)


async def _mark_disposable(server: EmbeddedServer) -> None:
    async with connect(server.superuser_url) as connection:
        await connection.execute(f"GRANT pg_checkpoint TO {OWNER}")
        (row,) = await fetch(connection, "queries/disposable")
        await connection.execute(row["marking"])
