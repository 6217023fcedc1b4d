"""The endpoints. `stats` is the whole way of a request: open, authorise, parse, ask, render."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.access.tokens import FailedTokens, Token, Tokens
from service.control.actor import of_token
from service.control.jobs import Control, require_control
from service.counters.readiness import Readiness
from service.db import Database
from service.errors import Forbidden, MethodNotAllowed, ServiceError, Unauthorized, UnknownMethod
from service.http.openapi import describe
from service.http.requests import QueueRequest, endpoint_name, fault, logger
from service.http.responses import Unsent, respond
from service.model import Action, Count, Format, Key, Scope, TopQuery
from service.queue.explain import explain as explain_query
from service.queue.live import Followed, Streams
from service.queue.names import Names
from service.queue.stats import Statistics
from service.queue.top import Top
from service.settings import Settings
from service.telemetry.metrics import CONTENT_TYPE, REFUSED
from service.telemetry.metrics import render as render_metrics
from service.wire.parsing import (
    Envelope,
    parse_control,
    parse_flag,
    parse_interval,
    parse_presentation,
    parse_query,
    parse_sender,
    parse_top,
)
from service.wire.rendering import MEDIA_TYPES, render_details, render_error, render_explanation, render_rows

JSON = MEDIA_TYPES[Format.JSON]
NO_STORE = {"Cache-Control": "no-store"}
# A proxy that compresses a stream holds its events back until a block is full.
NO_TRANSFORM = {"Cache-Control": "no-store, no-transform"}
# Proxies take a connection for dead that is silent for a minute, or half of one.
HEARTBEAT_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Service:
    """What the endpoints work with; one for each process."""

    settings: Settings
    statistics: Statistics
    top: Top
    names: Names
    streams: Streams
    control: Control
    tokens: Tokens
    failed_tokens: FailedTokens
    for_explain: Database
    readiness: Readiness
    unsent: Unsent


async def stats(request: QueueRequest) -> Response:
    service, envelope, token, wanted = await _open(request, Scope.STATS)
    query = token.limit(parse_query(envelope, service.settings.default_group))
    presentation = parse_presentation(envelope, wanted)
    request.scope["state"].update(group=query.grouping, query=query)
    outcome = await service.statistics.ask(query)
    shape = await service.names.shape(presentation, outcome.result.rows, query.sender_id)
    response = await respond(request, outcome, wanted, service.unsent, shape)
    if ignored := request.ignored_names():
        response.headers["X-Queuestats-Ignored"] = ", ".join(ignored)
    return response


async def top(request: QueueRequest) -> Response:
    service, envelope, token, wanted = await _open(request, Scope.STATS)
    query, presentation = token.limit_top(parse_top(envelope)), parse_presentation(envelope, wanted)
    outcome = await service.top.ask(query)
    shape = await service.names.shape(presentation, outcome.result.rows)
    return await respond(request, outcome, wanted, service.unsent, shape)


async def stream(request: QueueRequest) -> Response:
    """Server-Sent Events: the report at once, and then whenever it has changed."""
    service: Service = request.app.state.service
    envelope = request.envelope()
    token = await authorise(request, Scope.STATS)
    request.refuse_unknown()
    query = token.limit(parse_query(envelope, service.settings.default_group))
    interval_ms, followed = parse_interval(envelope), Followed(query, parse_presentation(envelope, Format.JSON))
    first = await service.streams.read(followed)
    last_event_id = request.headers.get("last-event-id", "")
    events = service.streams.follow(followed, request.token() or "", interval_ms, first, last_event_id)
    # `Streams` ends the events when the server drains; without a grace period they would be cut off.
    grace_seconds = service.settings.shutdown_timeout_ms / 1000
    return EventSourceResponse(
        events, headers=NO_TRANSFORM, ping=HEARTBEAT_SECONDS, shutdown_grace_period=grace_seconds
    )


async def control(request: QueueRequest) -> Response:
    """Holds, releases or purges, as its path says."""
    service, envelope, token, wanted = await _open(request, Scope.CONTROL)
    request.refuse_empty_in_url()
    command = parse_control(envelope, Action(endpoint_name(request.scope)))
    is_dry_run, has_details = (parse_flag(name, envelope.members.get(name)) for name in ("dry_run", "details"))
    token.require_sender(command.query.sender_id)
    command = await service.control.with_filter(command)
    require_control(token, command)
    if is_dry_run:
        return _respond(render_details(await service.control.matching(command), wanted), wanted)
    job = await service.control.carry_out(command, of_token(token.name), request.scope["state"]["request_id"])
    return _respond(render_details(job.details if has_details else None, wanted), wanted)


async def holds(request: QueueRequest) -> Response:
    """The active holds of a sender, each with the number of messages that it holds now."""
    return await _list(request, Scope.STATS, Control.holds)


async def jobs(request: QueueRequest) -> Response:
    """The latest holds, releases and purges of a sender, and how far they are."""
    return await _list(request, Scope.CONTROL, Control.jobs)


async def _list(
    request: QueueRequest, scope: Scope, read: Callable[[Control, int], Awaitable[list[dict[str, Any]]]]
) -> Response:
    service, envelope, token, wanted = await _open(request, scope)
    sender_id, presentation = parse_sender(envelope), parse_presentation(envelope, wanted)
    token.require_sender(sender_id)
    found = await read(service.control, sender_id)
    rows = [dict(sorted(row.items())) for row in found if token.sees(row["account_id"])]
    shape = await service.names.shape(presentation, rows)
    return _respond(render_rows(rows, wanted, shape), wanted)


def _respond(content: bytes, wanted: Format) -> Response:
    return Response(content, headers=NO_STORE, media_type=MEDIA_TYPES[wanted])


async def explain(request: QueueRequest) -> Response:
    """The SQL that would answer the same body at `stats`, and its plan; with `analyze` 1 it runs, read-only."""
    service, envelope, token, wanted = await _open(request, Scope.EXPLAIN)
    query = token.limit(parse_query(envelope, service.settings.default_group))
    ids = parse_presentation(envelope, wanted).ids
    explanation = await explain_query(
        service.for_explain, query, analyze=parse_flag("analyze", envelope.members.get("analyze"))
    )
    return _respond(render_explanation(explanation, wanted, ids), wanted)


async def metrics(request: QueueRequest) -> Response:
    """For Prometheus, with a token of its own scope: depths tell what customers send."""
    service: Service = request.app.state.service
    request.envelope()
    token = await authorise(request, Scope.METRICS)
    if token.sender_ids is not None or token.account_ids is not None:
        raise Forbidden("metrics are of all senders, and this token is limited")
    measured = await service.control.measure()
    rows: Sequence[Any] = ()
    # Of some nodes of a cluster alone they may be other senders.
    with suppress(ServiceError):
        largest = await service.top.ask(TopQuery(Key.SENDER, Count.TOTAL, service.settings.metrics_senders))
        rows = largest.result.rows
    return Response(render_metrics(measured, rows), headers=NO_STORE, media_type=CONTENT_TYPE)


async def openapi(request: QueueRequest) -> Response:
    return Response(describe(), headers={"Cache-Control": "no-cache"}, media_type=JSON)


async def health(request: QueueRequest) -> Response:
    """Alive: says nothing of the database."""
    return Response(msgspec.json.encode({"status": "alive"}), headers=NO_STORE, media_type=JSON)


async def ready(request: QueueRequest) -> Response:
    """Ready: a query of `stats` is answered, by a schema that this code was written for."""
    pending = await request.app.state.service.readiness.pending()
    if pending:
        content = msgspec.json.encode({"status": "not ready", "pending": pending})
        return Response(content, 503, {**NO_STORE, "Retry-After": "1"}, JSON)
    return Response(msgspec.json.encode({"status": "ready"}), headers=NO_STORE, media_type=JSON)


async def _open(request: QueueRequest, scope: Scope) -> tuple[Service, Envelope, Token, Format]:
    """What an endpoint begins with: its parameters, whose they are, and the format of the response."""
    envelope = request.envelope()
    token = await authorise(request, scope)
    if endpoint_name(request.scope) != "stats":
        request.refuse_unknown()
    return request.app.state.service, envelope, token, request.format()


async def authorise(request: QueueRequest, scope: Scope) -> Token:
    """Raises Unauthorized, after a while where its address has sent many wrong tokens, or Forbidden."""
    service: Service = request.app.state.service
    secret = request.token()
    try:
        token = await service.tokens.check(secret, scope)
    except Unauthorized:
        if secret is not None and request.client is not None:
            await service.failed_tokens.slow_down(request.client.host)
        raise
    request.scope["state"]["token_name"] = token.name
    return token


async def respond_error(request: Request, error: Exception) -> Response:
    """The one body that every error has, in the format that the client can most likely read."""
    assert isinstance(error, ServiceError)
    failed = QueueRequest(request.scope)
    settings: Settings = request.app.state.service.settings
    wanted = failed.error_format()
    # What is counted and logged, whatever QUEUESTATS_ERROR_HTTP_STATUS makes of the HTTP status.
    request.scope["state"]["error"] = error.code
    if error.is_refusal:
        REFUSED.labels(error.code).inc()
        logger.warning("refused error=%d text=%s", error.code, error.text)
    as_200 = settings.error_http_status == "200" and f"{request.scope['path']}/".startswith("/api/")
    headers = {**NO_STORE, **error.headers}
    return Response(render_error(error, wanted), 200 if as_200 else error.code, headers, MEDIA_TYPES[wanted])


async def respond_unrouted(request: Request, error: Exception) -> Response:
    """Starlette's 404 and 405 as ours."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        # Files have no such header: they are only read.
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "GET, HEAD").split(", ")))
        return await respond_error(request, MethodNotAllowed(allowed))
    return await respond_error(request, UnknownMethod())


async def respond_fault(request: Request, error: Exception) -> Response:
    """A fault outside the endpoints. The server closes its connection."""
    response = await respond_error(request, fault(request, error))
    response.headers["Connection"] = "close"
    return response
