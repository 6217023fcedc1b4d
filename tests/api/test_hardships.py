"""A failover, a frozen server and a full disk during requests: no response is wrong, and none is an internal error.

HARDSHIP_ANSWERS=10000 sets how many responses each test checks.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.access.admin import create_token
from service.db import connect
from service.schema import migrate
from service.settings import PREFIX
from tests.api.wire import serve_process
from tests.clusters import Cluster, binaries, running
from tests.counters.crashing import DURABLE
from tests.servers import fill, processes_below, scratch_folder, small_disk
from tests.traffic import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ANSWERS = int(os.environ.get("HARDSHIP_ANSWERS", "600"))
FROZEN_SECONDS = 3
DISK_BYTES = 128 << 20


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def address(user: str, *servers: Cluster) -> str:
    hosts = ",".join(str(each.folder) for each in servers)
    return f"postgresql://{user}@/postgres?host={hosts}&target_session_attrs=primary"


async def traffic_on(stack: ExitStack, *servers: Cluster, **settings: str) -> Traffic:
    """Traffic on a migrated queue that two instances serve. The first server is the primary."""
    owner = address("postgres", servers[0])
    await migrate(owner, address("queuestats_service", servers[0]))
    token = await create_token(owner, "tests")
    settings[f"{PREFIX}DATABASE_URL"] = address("queuestats_service", *servers)
    served = [await asyncio.to_thread(stack.enter_context, serve_process(settings)) for _ in range(2)]
    return Traffic(address("postgres", *servers), token, *(each.url for each in served))


async def finish(traffic: Traffic) -> None:
    """Waits until the instances are ready again and the test has checked enough responses."""
    before = traffic.answers[200]
    while traffic.answers[200] < before + 100:
        await traffic.until_answers(20)
    await traffic.until_answers(max(0, ANSWERS - traffic.answers.total()))


def check(traffic: Traffic) -> None:
    assert traffic.wrong == []
    assert set(traffic.answers) <= {200, 503, 504}, traffic.answers


async def test_a_standby_is_promoted(stack: ExitStack) -> None:
    folder = stack.enter_context(scratch_folder())
    programs = binaries(folder)
    primary, standby = (Cluster(programs, folder / name) for name in ("primary", "standby"))
    primary.initialise()
    stack.enter_context(running(primary, DURABLE))
    standby.run("pg_basebackup", "-h", primary.folder, "-U", "postgres", "-D", standby.folder, "-R", "-c", "fast")
    (standby.folder / ".s.PGSQL.5432.lock").unlink()
    stack.enter_context(running(standby, DURABLE))
    async with connect(address("postgres", primary)) as owner:
        # The standby has everything that was committed.
        await owner.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await owner.execute("SELECT pg_reload_conf()")
    traffic = await traffic_on(stack, primary, standby)
    async with traffic:
        await traffic.until_answers(ANSWERS // 3)
        await asyncio.to_thread(primary.stop)
        await traffic.until_answers(50)
        await asyncio.to_thread(standby.run, "pg_ctl", "-D", standby.folder, "-w", "promote")
        await finish(traffic)
    primary.start()
    check(traffic)


async def test_the_server_is_stopped_for_seconds(stack: ExitStack) -> None:
    folder = stack.enter_context(scratch_folder())
    server = Cluster(binaries(folder), folder / "data")
    server.initialise()
    stack.enter_context(running(server))
    traffic = await traffic_on(stack, server, **{f"{PREFIX}REQUEST_TIME_LIMIT_MS": "1000"})
    async with traffic:
        await traffic.until_answers(ANSWERS // 3)
        frozen = processes_below(int((server.folder / "postmaster.pid").read_text().split()[0]))
        try:
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(FROZEN_SECONDS)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        await finish(traffic)
    check(traffic)
    assert traffic.answers[504] > 0
    assert traffic.failed_writes == []


@pytest.fixture
def disk(stack: ExitStack) -> Path:
    disk = stack.enter_context(small_disk(stack.enter_context(scratch_folder()), DISK_BYTES))
    if disk is None:
        pytest.skip("a small file system can't be mounted here")
    return disk


async def test_the_disk_is_full(stack: ExitStack, disk: Path) -> None:
    server = Cluster(binaries(disk.parent), disk / "data")
    server.initialise()
    stack.enter_context(running(server, {**DURABLE, "max_wal_size": "'32MB'"}))
    traffic = await traffic_on(stack, server)
    async with traffic:
        await traffic.until_answers(ANSWERS // 3)
        ballast = disk / "ballast"
        await asyncio.to_thread(fill, ballast)
        await traffic.until_answers(ANSWERS // 3)
        while not traffic.failed_writes:
            await traffic.until_answers(20)
        await traffic.until_answers(20)
        ballast.unlink()
        await finish(traffic)
    check(traffic)
