"""The composition root: routes, what stands before them, and what is opened and closed with the application."""

import asyncio
import gc
import logging
import multiprocessing
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.routing import Router
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from service import api
from service.auth import Tokens
from service.counters.folding import fold_forever
from service.db import Database, load_statements
from service.errors import InternalError, MethodNotAllowed, ServiceError, Unavailable, UnknownMethod
from service.exchange import Answer, Exchange
from service.logs import configure_logging, describe
from service.origin import request_ids
from service.settings import Settings, load_settings
from service.stats import Statistics

logger = logging.getLogger(__name__)

QUEUE = "/api/v1.1/admin/senders/queue"

Handler = Callable[[api.Service, Exchange], Awaitable[Answer]]

_SLASHES = re.compile("/{2,}")


def create_app(settings: Settings) -> ASGIApp:
    """The ASGI application. It opens without its database, and closes its connections at the end."""
    assert settings.database_url is not None
    database = Database.from_settings(settings, settings.database_url, settings.pool_size, "serve")
    # Tokens have a connection of their own: slow reports can't shut everybody out.
    for_tokens = Database.from_settings(settings, settings.database_url, 1, "tokens")
    for_folding = Database.from_settings(settings, settings.database_url, 1, "fold")

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        _end_with_supervisor()
        async with database, for_tokens, for_folding:
            running = [asyncio.create_task(fold_forever(for_folding))]
            try:
                yield
            finally:
                for task in running:
                    task.cancel()
                await asyncio.wait(running)

    service = api.Service(settings, database, Statistics(database, settings), Tokens(for_tokens))
    endpoints = {
        f"{QUEUE}/stats": Endpoint(api.stats, "POST"),
        f"{QUEUE}/explain": Endpoint(api.explain, "POST"),
        "/healthz": Endpoint(api.health, "GET", "HEAD"),
        "/readyz": Endpoint(api.ready, "GET", "HEAD"),
    }
    return FrontDoor(endpoints, lifespan, service)


def _end_with_supervisor() -> None:
    """A worker whose supervisor was killed would serve on for ever, and keep its successor from the port."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(supervisor.sentinel)
        logger.error("supervisor died process=%d", supervisor.pid)
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(supervisor.sentinel, end)


def create_app_from_environment() -> ASGIApp:
    """What a worker process calls: its settings come through the environment."""
    settings = load_settings()
    configure_logging(settings.log_level)
    load_statements()
    app = create_app(settings)
    # What is loaded by now stays for good. Walked by the collector again and again, it would hold up the event loop for
    # 40 to 50 ms each time (about once in ten reports of 10,000 rows); so it takes 2.
    gc.collect()
    gc.freeze()
    return app


class Endpoint:
    """What answers at a path, and to which methods."""

    def __init__(self, handle: Handler, *methods: str) -> None:
        self.name = handle.__name__
        self.handle = handle
        self.methods = methods


class FrontDoor:
    """Every request passes here: its path gets its one spelling, it gets an id, and every exception becomes an answer.

    It stands in the place of Starlette's own middleware, which would catch exceptions twice more on the way. No path
    has a parameter, so a look-up finds the endpoint: Starlette's router, which tries one pattern after the other, is
    left with the server's start and end.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], lifespan: Lifespan[Any], service: api.Service) -> None:
        self._start_and_end = Router(lifespan=lifespan)
        self._endpoints = endpoints
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._start_and_end(scope, receive, send)
            return
        began = time.perf_counter()
        # Clients write the path with and without its last slash, and some double a slash: never a redirect.
        path = scope["path"]
        path = scope["path"] = (_SLASHES.sub("/", path) if "//" in path else path).rstrip("/") or "/"
        endpoint = self._endpoints.get(path)
        exchange = Exchange(scope, receive, self._service.settings.body_timeout_ms)
        request_id = exchange.id()
        # For the log lines of whatever is done for it; the server gives each request a task of its own.
        request_ids.set((request_id,))
        status = 0
        try:
            answer = await self._answer(endpoint, exchange, request_id, scope["method"])
            status = answer.status
            await answer.send(scope, send, request_id)
        except ClientDisconnect:
            # Nobody is there any more.
            pass
        if logger.isEnabledFor(logging.DEBUG):
            duration_ms = (time.perf_counter() - began) * 1000
            logger.debug(
                "request id=%s to=%s status=%s duration_ms=%.1f", request_id, _to(endpoint), status, duration_ms
            )

    async def _answer(self, endpoint: Endpoint | None, exchange: Exchange, request_id: str, method: str) -> Answer:
        failed: ServiceError
        try:
            if endpoint is None:
                raise UnknownMethod()
            if method not in endpoint.methods:
                raise MethodNotAllowed(", ".join(endpoint.methods))
            return await endpoint.handle(self._service, exchange)
        except ClientDisconnect:
            raise
        except ServiceError as error:
            failed = error
        except asyncio.CancelledError:
            # The service ends, and its time for open requests is up.
            failed = Unavailable()
        except Exception as error:  # noqa: BLE001 whatever it is, the client gets an answer and the log has it
            logger.error("fault request=%s to=%s error=%s", request_id, _to(endpoint), describe(error))
            failed = InternalError(f", request {request_id}")
        return await api.respond_error(self._service, exchange, failed)


def _to(endpoint: Endpoint | None) -> str:
    """Which endpoint, for the log. A path may hold anything, a token too, so an unknown one is not told."""
    return endpoint.name if endpoint is not None else "unknown"
