"""The endpoints. `stats` has the complete request flow: open, parse, limit, read, render."""

import asyncio
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

import msgspec
from starlette.responses import Response

from service.access.rules import Token
from service.control.actor import Actor
from service.control.jobs import require_control
from service.errors import Forbidden, Unavailable
from service.http.openapi import openapi_document
from service.http.requests import QueueRequest
from service.http.responses import NO_STORE, EventResponse, respond, respond_report
from service.http.scrape import read_of_database, scrape_seconds
from service.model import Action, Format, Scope
from service.queue.explain import explain as explain_query
from service.queue.live import Followed, Subscriber
from service.queue.report import Asked
from service.telemetry.metrics import CONTENT_TYPE
from service.telemetry.metrics import render as render_metrics
from service.wire.parsing import (
    parse_control,
    parse_history,
    parse_presentation,
    parse_query,
    parse_report,
    parse_top,
)
from service.wire.parsing.parameters import ANALYZE, DETAILS, DRY_RUN, ID, INTERVAL_MS, LIMIT, REPORT_FORMAT
from service.wire.rendering import MEDIA_TYPES, render_details, render_explanation, render_rows

JSON = MEDIA_TYPES[Format.JSON]


async def stats(request: QueueRequest) -> Response:
    service = request.service
    token = await request.open(Scope.STATS)
    envelope = request.envelope
    query = token.limit(parse_query(envelope, service.settings.default_group))
    presentation = parse_presentation(envelope, request.format)
    request.query = query
    outcome = await service.statistics.run(query)
    shape = await service.names.shape(presentation, outcome.result.rows, query.sender_id)
    response = await respond_report(request, outcome, shape)
    if ignored := request.ignored_names():
        response.headers["X-Queuestats-Ignored"] = ", ".join(ignored)
    return response


async def top(request: QueueRequest) -> Response:
    service = request.service
    token = await request.open(Scope.STATS)
    query = token.limit_top(parse_top(request.envelope))
    presentation = parse_presentation(request.envelope, request.format)
    outcome = await service.top.run(query)
    shape = await service.names.shape(presentation, outcome.result.rows)
    return await respond_report(request, outcome, shape)


async def history(request: QueueRequest) -> Response:
    """The counts at the end of each step, and the numbers of messages that arrived and left within the step."""
    service = request.service
    token = await request.open(Scope.STATS)
    query = token.limit_history(parse_history(request.envelope, list(service.settings.history_kept.values())))
    outcome = await service.history.run(query)
    return respond(render_rows(outcome.result.rows, request.format), request)


async def report(request: QueueRequest) -> Response:
    """The counts of many senders by the requested keys, one page at a time."""
    service = request.service
    token = await request.open(Scope.STATS, REPORT_FORMAT)
    query = token.limit_report(parse_report(request.envelope))
    presentation = parse_presentation(request.envelope, request.format)
    with service.open_reports.place(token.name):
        outcome = await service.report.run(Asked(query, token.name))
        shape = await service.names.shape(presentation, outcome.result.rows)
        return await respond_report(request, outcome, shape)


async def stream(request: QueueRequest) -> Response:
    """Server-Sent Events: the report at once, and again after each change."""
    service = request.service
    token = await request.authorize(Scope.STATS)
    request.refuse_unknown()
    query = token.limit(parse_query(request.envelope, service.settings.default_group))
    interval_ms = INTERVAL_MS.read(request.envelope.members)
    followed = Followed(query, parse_presentation(request.envelope, Format.JSON))
    subscriber = Subscriber(
        request.secret() or "",
        interval_ms / 1000,
        service.unsent.of(token.name),
        request.headers.get("last-event-id", ""),
    )
    with ExitStack() as place:
        place.enter_context(service.open_streams.place(token.name))
        first = await service.streams.read(followed)
        events = service.streams.follow(followed, subscriber, first)
        sign_of_life = partial(service.streams.sign_of_life, followed)
        return EventResponse(events, sign_of_life, place.pop_all(), service.settings)


async def control(request: QueueRequest) -> Response:
    """Holds, releases or purges; the path determines which."""
    service = request.service
    token = await request.open(Scope.CONTROL)
    request.refuse_empty_in_url()
    command = parse_control(request.envelope, Action(request.endpoint))
    members = request.envelope.members
    is_dry_run, has_details = DRY_RUN.read(members), DETAILS.read(members)
    token.require_sender(command.query.sender_id)
    command = await service.control.with_filter(command)
    require_control(token, command)
    if is_dry_run:
        return respond(render_details(await service.control.matching(command, token), request.format), request)
    job = await service.control.carry_out(command, Actor("token", token.name), request.id, token)
    return respond(render_details(job.details if has_details else None, request.format), request)


async def holds(request: QueueRequest) -> Response:
    """The active holds of a sender. The maker and the reason are included for holds that the token may end."""
    token = await request.open(Scope.STATS)
    found = await request.service.control.holds(_sender_of(request, token))
    for row in found:
        if not token.include(row.pop("sender_limits"), row.pop("account_limits")):
            row.update(reason=None, created_by=None)
    return await _respond_list(request, [row for row in found if token.sees(row["account_id"])])


async def jobs(request: QueueRequest) -> Response:
    """A hundred holds, releases and purges of a sender, the open ones first."""
    token = await request.open(Scope.CONTROL)
    return await _respond_list(
        request, await request.service.control.jobs(_sender_of(request, token), token.account_ids)
    )


async def audit(request: QueueRequest) -> Response:
    """What was done to the messages of a sender, the latest first; to a limited token, what it did itself."""
    token = await request.open(Scope.CONTROL)
    sender_id, row_limit = _sender_of(request, token), LIMIT.read(request.envelope.members)
    return await _respond_list(request, await request.service.control.audit_of_sender(sender_id, token, row_limit))


def _sender_of(request: QueueRequest, token: Token) -> int:
    sender_id: int = ID.read(request.envelope.members)
    token.require_sender(sender_id)
    return sender_id


async def _respond_list(request: QueueRequest, rows: list[dict[str, Any]]) -> Response:
    presentation = parse_presentation(request.envelope, request.format)
    rows = [dict(sorted(row.items())) for row in rows]
    shape = await request.service.names.shape(presentation, rows)
    return respond(render_rows(rows, request.format, shape), request)


async def explain(request: QueueRequest) -> Response:
    """The SQL that `stats` would run for the same body, and its plan; with `analyze=1` the SQL runs, read-only."""
    service = request.service
    token = await request.open(Scope.EXPLAIN)
    query = token.limit(parse_query(request.envelope, service.settings.default_group))
    ids = parse_presentation(request.envelope, request.format).ids
    is_run = ANALYZE.read(request.envelope.members)
    explanation = await explain_query(service.for_explain, query, analyze=is_run)
    return respond(render_explanation(explanation, request.format, ids), request)


async def metrics(request: QueueRequest) -> Response:
    """For Prometheus, with a separate scope, because queue depths show how much customers send."""
    seconds = scrape_seconds(request.service.settings.request_time_limit_ms)
    deadline = asyncio.get_running_loop().time() + seconds
    _require_unlimited(await request.authorize(Scope.METRICS, outage_after_seconds=seconds))
    read = await read_of_database(request.service, deadline)
    return Response(render_metrics(read), headers=NO_STORE, media_type=CONTENT_TYPE)


async def openapi(request: QueueRequest) -> Response:
    return Response(openapi_document(), headers={"Cache-Control": "no-cache"}, media_type=JSON)


async def health(request: QueueRequest) -> Response:
    """The process is alive. Does not examine the database."""
    return Response(msgspec.json.encode({"status": "alive"}), headers=NO_STORE, media_type=JSON)


async def conditions(request: QueueRequest) -> Response:
    """The findings of the conditions that are not costly, errors first, for a token without limits."""
    token = await request.authorize(Scope.STATS)
    _require_unlimited(token)
    found = sorted(await request.service.readiness.findings(), key=lambda finding: -finding.severity)
    rows = [asdict(finding) | {"severity": finding.severity.name.lower()} for finding in found]
    return Response(msgspec.json.encode({"data": rows}), headers=NO_STORE, media_type=JSON)


async def ready(request: QueueRequest) -> Response:
    """Ready: `stats` answers a query, and the schema fits this code."""
    try:
        obstacles = await request.service.readiness.obstacles()
    except Unavailable as error:
        raise Unavailable(error.detail or (error.said and f": {error.said}")) from error
    if obstacles:
        pending = [obstacle.finding for obstacle in obstacles]
        content = msgspec.json.encode({"status": "not ready", "pending": pending})
        return Response(content, 503, {**NO_STORE, "Retry-After": "1"}, JSON)
    return Response(msgspec.json.encode({"status": "ready"}), headers=NO_STORE, media_type=JSON)


def _require_unlimited(token: Token) -> None:
    if not token.is_unlimited:
        raise Forbidden("this is about all senders, and the token is limited")
