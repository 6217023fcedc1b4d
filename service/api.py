"""The endpoints: parse, authorise, ask, render. `stats` is the whole way of a request."""

import asyncio
import gzip
import math
import zlib
from dataclasses import dataclass

import msgspec

from service.auth import Tokens
from service.batch import Answered
from service.db import Database
from service.errors import ServiceError
from service.exchange import Answer, Exchange
from service.explain import explain as ask_for_plan
from service.model import Format, Scope, StatsReport
from service.parsing import parse_analyze, parse_query
from service.rendering import MEDIA_TYPES, render_error, render_explanation, render_report, render_report_in_slices
from service.settings import Settings
from service.stats import Statistics

# Up to here a report is rendered in one go: a millisecond or two.
SMALL_REPORT_ROWS = 1000
# Less fits into one packet anyway.
WORTH_GZIP_BYTES = 1400
# Half the size of what level 1 leaves costs twice its time; beyond 5 there is little left to gain.
GZIP_LEVEL = 5
GZIP_WINDOW = 16 + zlib.MAX_WBITS
JSON = MEDIA_TYPES[Format.JSON]


@dataclass(frozen=True, slots=True)
class Service:
    """What the endpoints work with; one for each process."""

    settings: Settings
    database: Database
    statistics: Statistics
    tokens: Tokens


async def stats(service: Service, exchange: Exchange) -> Answer:
    envelope = await exchange.open()
    await service.tokens.check(exchange.token(), Scope.STATS)
    answer_format = exchange.format()
    query = parse_query(envelope, service.settings.default_group)
    answered = await service.statistics.ask(query, exchange.is_gone())
    return await respond(answered, answer_format, exchange.accepts_gzip())


async def explain(service: Service, exchange: Exchange) -> Answer:
    """The very SQL that would answer a question of `stats`, and its plan; with `analyze` 1 it runs, in a read-only
    transaction."""
    envelope = await exchange.open()
    await service.tokens.check(exchange.token(), Scope.EXPLAIN)
    answer_format = exchange.format()
    query = parse_query(envelope, service.settings.default_group)
    explanation = await ask_for_plan(service.database, query, analyze=parse_analyze(envelope), as_json=False)
    return Answer(render_explanation(explanation, answer_format), MEDIA_TYPES[answer_format])


async def health(service: Service, exchange: Exchange) -> Answer:
    """Alive: says nothing of the database."""
    return Answer(msgspec.json.encode({"status": "alive"}), JSON)


async def ready(service: Service, exchange: Exchange) -> Answer:
    """Ready: the database is reached and its schema is the one that this code was written for."""
    pending = await service.database.pending_changes()
    if pending:
        content = msgspec.json.encode({"status": "not ready", "pending": pending})
        return Answer(content, JSON, [("Retry-After", "1")], status=503)
    return Answer(msgspec.json.encode({"status": "ready"}), JSON)


async def respond(answered: Answered[StatsReport], answer_format: Format, accepts_gzip: bool) -> Answer:
    """The report as a response, compressed where that is wanted and saves a packet."""
    headers = [("Server-Timing", _server_timing(answered))]
    report = answered.answer
    if report.lag_seconds is not None:
        headers.append(("Replica-Lag-Ms", str(math.ceil(report.lag_seconds * 1000))))
    if len(report.rows) > SMALL_REPORT_ROWS:
        content = await _render_large(report, answer_format, accepts_gzip)
    else:
        content = render_report(report, answer_format)
        accepts_gzip = accepts_gzip and len(content) >= WORTH_GZIP_BYTES
        if accepts_gzip:
            content = gzip.compress(content, GZIP_LEVEL, mtime=0)
    if accepts_gzip:
        headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
    return Answer(content, MEDIA_TYPES[answer_format], headers)


async def _render_large(report: StatsReport, answer_format: Format, is_gzip: bool) -> bytes:
    """Piece by piece: between two, others get their turn."""
    packer = zlib.compressobj(GZIP_LEVEL, wbits=GZIP_WINDOW) if is_gzip else None
    pieces = []
    for piece in render_report_in_slices(report, answer_format):
        pieces.append(packer.compress(piece) if packer else piece)
        await asyncio.sleep(0)
    return b"".join([*pieces, packer.flush()] if packer else pieces)


def _server_timing(answered: Answered[StatsReport]) -> str:
    """Milliseconds in the database, and waiting for it."""
    return f"db;dur={answered.round_seconds * 1000:.2f}, wait;dur={answered.wait_seconds * 1000:.2f}"


async def respond_error(service: Service, exchange: Exchange, error: ServiceError) -> Answer:
    """The one body that every error has, in the format that the client can most likely read."""
    answer_format = await exchange.error_format()
    as_200 = service.settings.error_http_status == "200" and exchange.is_under("/api/")
    status = 200 if as_200 else error.code
    answer = Answer(render_error(error, answer_format), MEDIA_TYPES[answer_format], error.headers.items(), status)
    return exchange.last_answer(answer)
