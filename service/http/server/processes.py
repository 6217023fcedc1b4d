"""The processes that serve: uvicorn's server and its supervisor of several workers, by overriding public methods."""

import asyncio
import logging
import math
import multiprocessing
import os
import resource
import signal
import socket
import time
from functools import cached_property
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from service.http.server.protocol import HttpProtocol
from service.http.server.sockets import BACKLOG
from service.settings import Settings

logger = logging.getLogger(__name__)

FEW_DESCRIPTORS = 4096
# Descriptors of a process other than client connections: files, and connections to the database.
SPARE_DESCRIPTORS = 16
DESCRIPTOR_CHECK_TICKS = 50  # uvicorn ticks every 0.1 s
# The drain ends when no request has begun or ended in this many checks. On a busy machine, requests may wait to be read
# during ten checks, but ten turns of the event loop read them.
DRAIN_CHECKS = 10
DRAIN_CHECK_SECONDS = 0.05
# uvicorn's shutdown waits for this time before `timeout_graceful_shutdown` begins.
UVICORN_PAUSE_SECONDS = 0.1


def server_config(settings: Settings, app: Any, **options: Any) -> uvicorn.Config:
    """`app`: the application, or with `factory=True` the name of a function that creates it."""
    return uvicorn.Config(
        app,
        **options,
        workers=settings.workers,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        # The service does not use the client's address behind a proxy.
        proxy_headers=False,
        timeout_keep_alive=math.ceil(settings.keep_alive_timeout_ms / 1000),
        timeout_graceful_shutdown=settings.shutdown_timeout_ms / 1000,  # type: ignore[arg-type] # asyncio takes fractions
        # On a busy machine a new worker of a rolling restart may take this long to start.
        timeout_worker_healthcheck=60,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


class Server(uvicorn.Server):
    """One process. A signal begins a drain; open requests end within `timeout_graceful_shutdown` of the signal."""

    _deadline: float | None = None

    async def on_tick(self, counter: int) -> bool:
        if counter % DESCRIPTOR_CHECK_TICKS == 0:
            _warn_without_descriptors()
        supervisor = multiprocessing.parent_process()
        if supervisor is not None and not supervisor.is_alive() and not self.should_exit:
            # A worker without its supervisor would never end, and would block the port for a new supervisor.
            logger.error("supervisor died process=%d", supervisor.pid)
            self.handle_exit(signal.SIGTERM, None)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Only the first signal counts. In uvicorn a second Ctrl-C skips the shutdown of the application."""
        if self._deadline is None:
            self._deadline = time.monotonic() + (self.config.timeout_graceful_shutdown or 0)
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.lifespan.state["open_requests"].is_draining = True
        if self._deadline is not None:
            deadline = self._deadline - UVICORN_PAUSE_SECONDS
            await self._drain(deadline)
            rest = max(0.0, deadline - time.monotonic())
            self.config.timeout_graceful_shutdown = rest  # type: ignore[assignment] # asyncio takes fractions
        await super().shutdown(sockets)

    async def _drain(self, deadline: float) -> None:
        """Waits until no more requests arrive. Connections are no longer accepted, and each response closes its own.

        uvicorn's shutdown closes idle connections at once, and loses requests that clients are sending on them.
        """
        for server in self.servers:
            server.close()
        state, seen, quiet_checks = self.server_state, (-1, -1), 0
        while quiet_checks < DRAIN_CHECKS and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_CHECK_SECONDS)
            before, seen = seen, (state.total_requests, len(state.tasks))
            quiet_checks = quiet_checks + 1 if seen == before else 0


class Worker(Process):
    """One of several processes."""

    @cached_property
    def server(self) -> Server:
        return Server(self.config)


class Workers(Multiprocess):
    """uvicorn's supervisor. It has no option for the class of its processes, so their start is overridden."""

    def start_worker(self) -> Worker:
        worker = Worker(self.config, self.sockets)
        worker.start()
        return worker

    def init_processes(self) -> None:
        self.processes.extend(self.start_worker() for _ in range(self.processes_num))

    def handle_ttin(self) -> None:
        self.processes_num += 1
        self.processes.append(self.start_worker())

    def keep_subprocess_alive(self) -> None:
        """Replaces workers that died or hang. A worker that could not start ends all of them."""
        for index, worker in enumerate(self.processes):
            if self.should_exit.is_set() or worker.is_alive(timeout=self.config.timeout_worker_healthcheck):
                continue
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:
                logger.error("worker could not start process=%d", worker.pid)
                self.should_exit.set()
            else:
                logger.error("worker died process=%d", worker.pid)
                self.processes[index] = self.start_worker()

    def restart_all(self) -> None:
        """Replaces the workers one after the other; the old one ends when the new one is ready."""
        for index, former in enumerate(self.processes):
            worker = self.start_worker()
            if not worker.wait_until_ready(self.config.timeout_worker_healthcheck):
                worker.kill()
                worker.join()
                logger.error("worker was not ready process=%d: restart ended", worker.pid)
                return
            former.terminate()
            former.join()
            self.processes[index] = worker

    def terminate_all(self) -> None:
        # While the supervisor's socket is open, the kernel accepts connections that no worker serves.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    @property
    def started(self) -> bool:
        return all(worker.exitcode != STARTUP_FAILURE for worker in self.processes)


def raise_descriptor_limit() -> None:
    """Sets the soft limit to the hard limit: connections take descriptors, and the soft limit is for old programs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < FEW_DESCRIPTORS:
        logger.warning("few file descriptors limit=%d: more connections than that are not accepted", hard)


def _warn_without_descriptors() -> None:
    """Logs refused connections, because the event loop closes connections beyond the limit without a report."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        is_full = sum(1 for _ in os.scandir("/dev/fd")) + SPARE_DESCRIPTORS > limit
    except OSError:
        is_full = True
    if is_full:
        logger.warning("refused connections: out of file descriptors limit=%d", limit)
