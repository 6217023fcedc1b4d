"""Where a benchmark may write: a scratch server of its own, or a database that its owner has marked disposable."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.db import connect, statement
from service.db.disposable import require_disposable
from service.embedded import EmbeddedServer
from service.errors import CommandError
from service.resources import sql_path
from service.schema import migrate
from service.settings import Settings

# What survives a power cut counts, as in production; the buffers are what PostgreSQL's manual advises to begin with.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_wal_size": "8GB"}
MOST_BUFFERS_MB = 8192


@dataclass(frozen=True, slots=True)
class Ground:
    """A migrated database that may be overwritten. `server` is there where it is the scratch server's."""

    settings: Settings
    server: EmbeddedServer | None = None

    @property
    def owner_url(self) -> str:
        assert self.settings.owner_url is not None
        return self.settings.owner_url

    async def execute(self, *names: str) -> None:
        """Runs whole files of `sql/`, each one "folder/file", as the owner."""
        async with connect(self.owner_url) as connection:
            for name in names:
                await connection.execute(sql_path(f"{name}.sql").read_text("utf-8"))

    async def checkpoint(self) -> None:
        """Writes out what is only in memory, so that no run pays for the one before; where we have the right to."""
        if self.server is not None:
            async with connect(self.server.superuser_url) as connection:
                await connection.execute("CHECKPOINT")

    def require_restart(self) -> EmbeddedServer:
        """The scratch server. Raises CommandError on another's."""
        if self.server is None:
            raise CommandError("Only the scratch server can be restarted: leave out --cold, or the database's address.")
        return self.server

    async def restart_cold(self) -> None:
        """Restarts the server, and lets the operating system forget its files where it can."""
        server = self.require_restart()
        await self.checkpoint()
        await asyncio.to_thread(server.stop)
        _forget_files(server.data_dir)
        await asyncio.to_thread(server.start)


@contextmanager
def open_ground(settings: Settings) -> Iterator[Ground]:
    """The database of `settings`, where an address is given; else one on a scratch server that is gone afterwards.

    Raises CommandError where the given one is not marked disposable.
    """
    if settings.owner_url is not None:
        asyncio.run(_check(settings.owner_url))
        asyncio.run(migrate(settings.owner_url, settings.database_url))
        yield Ground(settings)
        return
    with _scratch_folder() as folder, EmbeddedServer(folder / "data", options=_options()) as server:
        opened = replace(settings, database_url=server.service_url, admin_database_url=server.owner_url)
        asyncio.run(migrate(server.owner_url, server.service_url))
        asyncio.run(_mark(server.owner_url))
        yield Ground(opened, server)


@asynccontextmanager
async def set_for_database(url: str, values: Mapping[str, str]) -> AsyncIterator[None]:
    """Settings that hold for every connection to the database that is made meanwhile."""
    try:
        await _set(url, values)
        yield
    finally:
        await _set(url, dict.fromkeys(values))


async def _set(url: str, values: Mapping[str, str | None]) -> None:
    asked = statement("bench/setting")
    async with connect(url) as connection:
        for name, value in values.items():
            await connection.execute(await connection.fetchval(asked.sql, *asked.bind({"name": name, "value": value})))


async def _check(url: str) -> None:
    async with connect(url) as connection:
        await require_disposable(connection)


async def _mark(url: str) -> None:
    async with connect(url) as connection:
        marking: Any = await connection.fetchrow(statement("queries/disposable").sql)
        await connection.execute(marking["marking"])


def _options() -> dict[str, str]:
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return {**DURABLE, "shared_buffers": f"{min(MOST_BUFFERS_MB, max(128, memory_mb // 4))}MB"}


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """On a disk, not in memory, where the system keeps to the custom; TMPDIR chooses another place."""
    parent = None if os.environ.get("TMPDIR") or not os.access("/var/tmp", os.W_OK) else "/var/tmp"  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="queuestats-bench-", dir=parent))
    # As root, the server runs as another user, who must pass through; its data folder is that user's alone.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _forget_files(folder: Path) -> None:
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            file = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)
