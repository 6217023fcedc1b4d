"""What happens to a service and its database in production, one fault after the other."""

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import asyncpg

from service.schema import migrate
from tests.cli.programs import Program, program
from tests.clusters import free_port
from tests.counters.crashing import DURABLE, CrashableServer
from tests.counters.observing import drift
from tests.servers import fill, processes_below
from tests.soak.writers import PLATFORM

WORKERS = 2
PLAIN, CONTROLLED = (1, 2, 3), (11, 12, 13)
FAULT_SECONDS = 5
# Fewer fill up sooner, and the server's own processes need some.
MOST_CONNECTIONS = 80
SERVER = {**DURABLE, "max_connections": str(MOST_CONNECTIONS), "max_wal_size": "'256MB'"}
REFUSED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class Instance:
    """`queuestats serve` on a port that stays the same, as a supervisor of services starts it again."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment, self._port = environment, free_port()
        self._folder = tempfile.TemporaryDirectory()
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    @property
    def pid(self) -> int:
        return self._program.process.pid

    def start(self) -> None:
        command = [*program(), "serve", "--port", str(self._port), "--workers", str(WORKERS)]
        self._program = Program(Path(self._folder.name), command, **self._environment)
        self._program.wait_for("Serving on")

    def workers(self) -> list[int]:
        return processes_below(self.pid)[1:]

    def kill(self, *, whole_group: bool) -> None:
        """The supervisor with its workers, or alone: then the workers end."""
        if whole_group:
            self._program.kill()
        else:
            self._program.process.kill()
            self._program.process.wait()
        assert self._program.left_behind() == []

    def end(self) -> None:
        self._program.stop()
        self._program.kill()
        self._folder.cleanup()


class World:
    """A durable server, on a small disk if one can be mounted, and the instances that serve it."""

    settings = SERVER
    shards_move = False
    """Whether messages that arrive just after a fault may miss a hold for a moment."""
    locked_tables: Sequence[str] = ("messages", "queuestats.counters", "queuestats.deltas", "queuestats.jobs")

    def __init__(self, server: CrashableServer, seed: int, disk: Path | None) -> None:
        self.server, self.random, self._disk = server, random.Random(seed), disk
        self.instances: list[Instance] = []

    @property
    def owner_url(self) -> str:
        return self.server.address("postgres")

    @property
    def service_url(self) -> str:
        return self.server.address("postgres", "queuestats_service")

    async def prepare(self) -> None:
        """Makes the schema, and the table in which the writers record their transactions."""
        await migrate(self.owner_url, self.service_url)
        await execute(self.owner_url, PLATFORM)

    async def differences(self) -> list[Any]:
        """What `verify` looks for, while nothing is written."""
        owner = await asyncpg.connect(self.owner_url)
        try:
            return [*await drift(owner), *await owner.fetch("SELECT * FROM queuestats.held_differences(NULL)")]
        finally:
            await owner.close()

    def faults(self) -> list[Callable[[], Awaitable[None]]]:
        """Each returns when it is over; the database may not be available yet."""
        found: list[Callable[[], Awaitable[None]]] = [
            *(self.worker_killed, self.instance_killed, self.supervisor_killed, self.backend_killed),
            *(self.postmaster_killed, self.server_stopped, self.worker_stopped, self.tables_locked),
            *(self.transaction_left_open, self.transaction_left_prepared, self.connections_used_up),
        ]
        return [*found, self.disk_full] if self._disk else found

    async def until_answered(self, statement: str) -> Any:
        """What the database answers once it takes a connection; a server that is down is started."""
        while True:
            try:
                connection = await asyncpg.connect(self.owner_url, timeout=1)
                try:
                    return await connection.fetchval(statement)
                finally:
                    connection.terminate()
            except REFUSED:
                if not is_running(self.server):
                    await asyncio.to_thread(self.server.start, self.settings)
                await asyncio.sleep(0.02)

    async def worker_killed(self) -> None:
        os.kill(self.random.choice(self._instance().workers()), signal.SIGKILL)

    async def instance_killed(self) -> None:
        await self._restart(whole_group=True)

    async def supervisor_killed(self) -> None:
        await self._restart(whole_group=False)

    async def backend_killed(self) -> None:
        async with AsyncExitStack() as stack:
            owner = await self._connection(stack)
            found = await owner.fetch("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
            os.kill(self.random.choice(found)["pid"], signal.SIGKILL)
            # The server then ends all others, and recovers.
            while not owner.is_closed():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def postmaster_killed(self) -> None:
        await self._kill(self.server)

    async def server_stopped(self) -> None:
        await self._stop(processes_below(postmaster(self.server)))

    async def worker_stopped(self) -> None:
        await self._stop([self.random.choice(self._instance().workers())])

    async def tables_locked(self) -> None:
        async with AsyncExitStack() as stack:
            owner = await self._connection(stack)
            await owner.execute("SET lock_timeout = '5s'")
            table = self.random.choice(self.locked_tables)
            with suppress(asyncpg.PostgresError):
                await owner.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(FAULT_SECONDS)

    async def transaction_left_open(self) -> None:
        async with AsyncExitStack() as stack:
            owner = await self._connection(stack)
            await owner.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await self._lock_row(owner)
            await asyncio.sleep(2 * FAULT_SECONDS)

    async def transaction_left_prepared(self) -> None:
        async with AsyncExitStack() as stack:
            owner = await self._connection(stack)
            await owner.execute("BEGIN")
            await self._lock_row(owner)
            await owner.execute("PREPARE TRANSACTION 'soak'")
            await asyncio.sleep(FAULT_SECONDS)
            await owner.execute("ROLLBACK PREPARED 'soak'")

    async def connections_used_up(self) -> None:
        """Those of ordinary roles: a superuser still gets one."""
        async with AsyncExitStack() as stack:
            with suppress(*REFUSED):
                while True:
                    await self._connection(stack, "queuestats_service")
            await asyncio.sleep(FAULT_SECONDS)

    async def disk_full(self) -> None:
        assert self._disk
        ballast = self._disk / "ballast"
        await asyncio.to_thread(fill, ballast)
        await asyncio.sleep(FAULT_SECONDS)
        ballast.unlink()

    async def _kill(self, server: CrashableServer) -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start, self.settings)

    async def _restart(self, *, whole_group: bool) -> None:
        instance = self._instance()
        await asyncio.to_thread(instance.kill, whole_group=whole_group)
        await asyncio.to_thread(instance.start)

    async def _stop(self, pids: list[int]) -> None:
        try:
            for pid in pids:
                _signal(pid, signal.SIGSTOP)
            await asyncio.sleep(FAULT_SECONDS)
        finally:
            for pid in pids:
                _signal(pid, signal.SIGCONT)

    async def _lock_row(self, owner: Any) -> None:
        """A message of a sender that is held, released and purged."""
        await owner.execute("SELECT FROM messages WHERE sender_id = $1 LIMIT 1 FOR UPDATE", CONTROLLED[0])

    async def _connection(self, stack: AsyncExitStack, user: str = "postgres") -> Any:
        connection = await asyncpg.connect(self.server.address("postgres", user), timeout=5)
        stack.callback(connection.terminate)
        return connection

    def _instance(self) -> Instance:
        return self.random.choice(self.instances)


async def execute(url: str, *statements: str) -> None:
    """Each in a transaction of its own."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def postmaster(server: CrashableServer) -> int:
    return int((server.folder / "postmaster.pid").read_text().split()[0])


def is_running(server: CrashableServer) -> bool:
    try:
        os.kill(postmaster(server), 0)
    except (OSError, IndexError):
        return False
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
