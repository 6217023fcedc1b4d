"""The script of docker-compose.yml creates the owner and the database, on a server of this test."""

import asyncio
import os
import subprocess
from pathlib import Path

import asyncpg

from service.schema import migrate
from tests.clusters import Cluster, binaries, running
from tests.servers import scratch_folder

SCRIPT = Path(__file__).parents[2] / "docs" / "compose" / "owner.sh"
PASSWORD = "it's"


async def test_the_owner_is_no_superuser_and_migrates_the_database() -> None:
    with scratch_folder() as folder:
        cluster = Cluster(binaries(folder), folder / "data")
        cluster.initialise()
        with running(cluster):
            given = {"POSTGRES_USER": "postgres", "POSTGRES_DB": "postgres", "OWNER_PASSWORD": PASSWORD}
            paths = {"PATH": f"{cluster.binaries}:{os.environ['PATH']}", "PGHOST": str(cluster.folder)}
            environment = {**os.environ, **given, **paths}
            await asyncio.to_thread(subprocess.run, [SCRIPT], env=environment, check=True)
            at = f"/queuestats?host={cluster.folder}"
            await migrate(f"postgresql://queuestats_owner@{at}", f"postgresql://queuestats_service:secret@{at}")
            connection = await asyncpg.connect(cluster.url)
            rows = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolsuper")
            password = await connection.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'queuestats_owner'")
            await connection.close()
    assert [row[0] for row in rows] == ["postgres"]
    assert password.startswith("SCRAM-SHA-256$")
