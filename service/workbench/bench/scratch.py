"""The scratch database: one on a temporary server, or one that its owner has marked disposable."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from msgspec.structs import replace

from service.db import Connection, connect, fetch, require_disposable
from service.db.address import with_search_path
from service.embedded import EmbeddedServer
from service.embedded.server import OWNER
from service.resources import sql_path
from service.schema import migrate
from service.settings import Settings

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
