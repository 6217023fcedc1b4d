"""The embedded PostgreSQL with settings for a quick start, and checks of its files."""

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.embedded import EmbeddedServer, binaries

QUICK = {"fsync": "off", "shared_buffers": "16MB", "max_connections": "20"}
AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="only root has another user run the server")

# One use of the server in its own process: prints the address, then waits for the end of its input.
USER = """
import json, sys
from pathlib import Path
from service.embedded import EmbeddedServer, binaries
from service.errors import CommandError
data_dir, version, options = json.loads(sys.argv[1])
try:
    with EmbeddedServer(Path(data_dir), version, options=options) as server:
        print(server.owner_url, flush=True)
        sys.stdin.read()
except CommandError as error:
    sys.exit(str(error))
"""

StartUser = Callable[[Path], subprocess.Popen[str]]


def sql(server: EmbeddedServer, statement: str, url: str | None = None) -> str:
    command = [str(binaries(18) / "psql"), "-XAtqc", statement, url or server.owner_url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def ask_as_the_service_does(url: str, statement: str) -> tuple[Any, ...]:
    async def ask() -> tuple[Any, ...]:
        connection = await asyncpg.connect(url)
        try:
            return tuple(await connection.fetchrow(statement) or ())
        finally:
            await connection.close()

    return asyncio.run(ask())


def quick(data_dir: Path, version: int = 18, **options: str) -> EmbeddedServer:
    return EmbeddedServer(data_dir, version, options={**QUICK, **options})


def server_process(data_dir: Path) -> int:
    return int((data_dir / "postgres-18" / "postmaster.pid").read_text().splitlines()[0])


def is_running(data_dir: Path) -> bool:
    return (data_dir / "postgres-18" / "postmaster.pid").exists()


def modes(folder: Path) -> Mapping[str, tuple[int, int]]:
    """Mode and owner of everything below the folder, and of its parents."""
    places = [*folder.parents, folder, *folder.rglob("*")]
    return {str(place): (place.lstat().st_mode, place.lstat().st_uid) for place in places}
