"""A competitor: a Starlette endpoint that parses the same body and returns a constant. No database, no token."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.model import Format, Grouping
from service.reports import StatsReport, StatsRow
from service.wire.parsing import parse_envelope, parse_query
from service.wire.rendering import MEDIA_TYPES, render_report

ROW = StatsRow(account_id=0, campaign_id=0, hold=80, isp="", new=110, proc=110, retry=40, total=340)
CONSTANT = render_report(StatsReport([ROW]), Format.JSON)


async def stats(request: Request) -> Response:
    parse_query(parse_envelope(await request.body()), Grouping.TOTAL)
    return Response(CONSTANT, media_type=MEDIA_TYPES[Format.JSON])


app = Starlette(routes=[Route("/api/v1.1/admin/senders/queue/stats/", stats, methods=["POST"])])
