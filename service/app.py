"""The composition root: routes, middleware, and what is opened and closed with the application."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from service.access.budgets import Budget, Unsent
from service.access.cache import Tokens
from service.control.jobs import STEP_TIME_LIMIT_MS, Control, expire_forever, work_forever
from service.control.retention import prune_forever
from service.counters.folding import count_forever, fold_forever
from service.counters.readiness import Readiness
from service.db import Database, load_statements
from service.http import endpoints
from service.http.limits import OpenRequests
from service.http.middleware import Endpoint, RequestMiddleware
from service.http.openapi import QUEUE
from service.http.page import STATIC, STATIC_PATH, SWAGGER, SWAGGER_PATH, api_page, page
from service.http.requests import Service
from service.http.responses import encode_event
from service.model import Action
from service.queue.history import open_history
from service.queue.live import STREAM_CONNECTIONS, Streams, open_statistics
from service.queue.names import Names
from service.queue.report import open_report
from service.queue.stats import Statistics
from service.queue.top import open_top
from service.settings import Settings, load_settings
from service.telemetry.logs import configure_logging
from service.telemetry.origin import configure_traces

CONTROL_CONNECTIONS = 2

ROUTES = [
    Route(f"{QUEUE}/stats", Endpoint(endpoints.stats), methods=["POST"]),
    Route(f"{QUEUE}/stream", Endpoint(endpoints.stream), methods=["GET"]),
    Route(f"{QUEUE}/top", Endpoint(endpoints.top), methods=["GET"]),
    Route(f"{QUEUE}/history", Endpoint(endpoints.history), methods=["POST"]),
    Route(f"{QUEUE}/report", Endpoint(endpoints.report), methods=["POST"]),
    Route(f"{QUEUE}/explain", Endpoint(endpoints.explain), methods=["POST"]),
    *(Route(f"{QUEUE}/{action}", Endpoint(endpoints.control, action), methods=["POST"]) for action in Action),
    Route(f"{QUEUE}/holds", Endpoint(endpoints.holds, "holds"), methods=["POST"]),
    Route(f"{QUEUE}/jobs", Endpoint(endpoints.jobs, "jobs"), methods=["POST"]),
    Route("/", Endpoint(page), methods=["GET"]),
    Mount(STATIC_PATH, STATIC),
    Mount(SWAGGER_PATH, SWAGGER),
    Route("/docs", Endpoint(api_page), methods=["GET"]),
    Route("/openapi.json", Endpoint(endpoints.openapi), methods=["GET"]),
    Route("/metrics", Endpoint(endpoints.metrics), methods=["GET"]),
    Route("/conditions", Endpoint(endpoints.conditions), methods=["GET"]),
    Route("/healthz", Endpoint(endpoints.health), methods=["GET"]),
    Route("/readyz", Endpoint(endpoints.ready), methods=["GET"]),
]


def create_app(settings: Settings) -> Starlette:
    """It opens without its database, and closes its connections at the end."""
    # Connections of their own: slow reports can't shut everybody out, and neither plans nor probes hold up a report.
    names = ("serve", "streams", "tokens", "fold", "count", "explain", "ready", "control", "jobs", "expiries")
    databases = {name: _database(settings, name) for name in names}
    open_requests = OpenRequests(settings.request_time_limit_ms)
    app = Starlette(routes=ROUTES, lifespan=_lifespan)
    app.router.redirect_slashes = False
    statistics, tokens = Statistics(databases["serve"], settings), Tokens(databases["tokens"])
    key_names = Names(databases["serve"], settings)
    streams = Streams(
        open_statistics(databases["streams"], settings),
        Names(databases["streams"], settings),
        tokens,
        lambda: open_requests.is_draining,
        encode_event,
    )
    app.state.databases = databases
    app.state.service = service = Service(
        settings,
        statistics,
        open_top(databases["serve"], settings),
        open_history(databases["serve"], settings),
        open_report(databases["serve"], settings),
        key_names,
        streams,
        Control(
            databases["control"],
            databases["serve"],
            settings.control_messages,
            most_holds=settings.token_holds,
            most_jobs=settings.token_jobs,
        ),
        tokens,
        databases["explain"],
        Readiness(databases["ready"], settings.connections, statistics.warm_up),
        Unsent(settings.unsent_limit_bytes, settings.token_unread_bytes, settings.send_timeout_ms),
        Budget("open_streams", settings.token_streams),
        open_requests,
    )
    # In place of Starlette's stack, whose two nets for exceptions take 18 us of a request.
    app.middleware_stack = RequestMiddleware(app.router, service)
    return app


def _database(settings: Settings, purpose: str) -> Database:
    url = settings.database_url
    assert url is not None
    size = {"serve": settings.pool_size, "streams": STREAM_CONNECTIONS, "control": CONTROL_CONNECTIONS}.get(purpose, 1)
    if purpose in ("control", "count", "jobs", "expiries"):
        settings = replace(settings, request_time_limit_ms=STEP_TIME_LIMIT_MS)
    return Database(settings, url, pool_size=size, purpose=purpose)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[dict[str, OpenRequests]]:
    service: Service = app.state.service
    databases: dict[str, Database] = app.state.databases
    async with AsyncExitStack() as stack:
        for database in databases.values():
            await stack.enter_async_context(database)
        forever = (
            fold_forever(databases["fold"], service.settings.history_kept),
            work_forever(databases["jobs"]),
            expire_forever(databases["expiries"]),
            count_forever(databases["count"], service.settings.proof_percent),
            prune_forever(databases["jobs"], service.settings.retention_days),
            service.streams.watch(),
            service.tokens.refresh_forever(),
            service.readiness.log(),
        )
        tasks = [asyncio.create_task(work) for work in forever]
        try:
            # The server's part of the shutdown: service/http/server/processes.py.
            yield {"open_requests": service.open_requests}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def create_app_from_environment() -> Starlette:
    """What a worker process calls: its settings come through the environment."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    if settings.has_traces:
        configure_traces()
    load_statements()
    app = create_app(settings)
    # What is loaded by now stays for good. Walked by the collector again and again, it would hold up the event loop for
    # 40 to 50 ms each time (about once in ten reports of 10,000 rows); so it takes 2.
    gc.collect()
    gc.freeze()
    return app
