"""The composition root: routes, middleware, and the resources of the application."""

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
from service.queue.report import CONNECTIONS as REPORT_CONNECTIONS
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
    Route(f"{QUEUE}/audit", Endpoint(endpoints.audit), methods=["POST"]),
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
    """The application. It starts without its database, and closes its connections at the end."""
    databases = _databases(settings)
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
        open_report(databases["reports"], settings),
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
        Budget("open_reports", settings.token_reports),
        open_requests,
    )
    # In place of Starlette's stack, whose two exception handlers take 18 us of a request.
    app.middleware_stack = RequestMiddleware(app.router, service)
    return app


def _databases(settings: Settings) -> dict[str, Database]:
    """By purpose: slow reports do not block other requests, and plans and probes do not delay reports."""
    sizes = dict.fromkeys(("tokens", "fold", "count", "explain", "ready", "jobs", "expiries"), 1)
    sizes |= {"serve": settings.pool_size, "reports": REPORT_CONNECTIONS}
    sizes |= {"streams": STREAM_CONNECTIONS, "control": CONTROL_CONNECTIONS}
    return {purpose: _database(settings, purpose, size) for purpose, size in sizes.items()}


def _database(settings: Settings, purpose: str, size: int) -> Database:
    url = settings.database_url
    assert url is not None
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
    """The function that a worker process calls. Its settings come from the environment."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    if settings.has_traces:
        configure_traces()
    load_statements()
    app = create_app(settings)
    # Objects that are loaded now stay until the process ends. A full collection that includes them would block the
    # event loop for 40 to 50 ms (about once in ten reports of 10,000 rows); without them it takes 2 ms.
    gc.collect()
    gc.freeze()
    return app
