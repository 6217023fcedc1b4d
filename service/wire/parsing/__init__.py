"""Request bytes to a query: body -> `Envelope` -> `StatsQuery`. Pure; raises nothing but `BadRequest`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from service.errors import BadRequest
from service.model import (
    STEPS,
    Action,
    AnyFormat,
    By,
    ControlRequest,
    Dimension,
    Format,
    Grouping,
    HistoryGrouping,
    HistoryQuery,
    Ids,
    Measure,
    Order,
    Presentation,
    ReportQuery,
    StatsQuery,
    TopQuery,
)
from service.wire.parsing import parameters
from service.wire.parsing.json_body import read_json, read_json_names
from service.wire.parsing.parameters import Members
from service.wire.parsing.refusals import foreign, refuse_ambiguous, refuse_empty
from service.wire.parsing.xml_body import EARLY_BYTES, is_costly, read_xml, read_xml_names

_LEAD = re.compile(rb"[ \t\r\n]*+(?:\xef\xbb\xbf[ \t\r\n]*+)*+")  # blanks and byte-order marks
_FORMATS = {b"{": Format.JSON, b"<": Format.XML}


@dataclass(repr=False, slots=True)
class Envelope:
    """The parameters of a body or a URL, not checked yet.

    `early`: the members for the token and for the format of an error. These are all members, unless `is_early`: then
    the body has more, which are expensive and are read only for a valid token.
    """

    written_in: Format
    early: Members
    body: bytes = b""
    start: int = 0
    is_early: bool = False

    @property
    def members(self) -> Members:
        """All members by name, including unknown ones: see `read_json` and `read_xml`. BadRequest as these."""
        if self.is_early:
            self.early, self.is_early = read_xml(self.body, self.start), False
        return self.early

    def token(self) -> str | None:
        """The token, trimmed; None if there is none. Raises BadRequest if it is not a string."""
        return parameters.TOKEN.read(self.early).strip(parameters.BLANKS) or None

    def format(self, parameter: parameters.Choice[Any] = parameters.FORMAT) -> Any:
        """None if it is omitted. Raises BadRequest if it is wrong."""
        return parameter.read(self.members)

    def valid_format(self) -> Format | None:
        """As `format`, for the format of an error: None if it is wrong."""
        try:
            return parameters.FORMAT.read(self.early)
        except BadRequest:
            return None


def sniff(body: bytes) -> Format | None:
    """The format by the first byte after blanks and byte-order marks; None for any other byte."""
    return _recognize(body)[1]


def _recognize(body: bytes) -> tuple[int, Format | None]:
    """The position of the start of the document, and its format."""
    lead = None if body[:1] in _FORMATS else _LEAD.match(body)
    start = lead.end() if lead else 0
    return start, _FORMATS.get(body[start : start + 1])


def parse_envelope(body: bytes) -> Envelope:
    """Reads a body of at most `MAX_BODY_BYTES`. Raises BadRequest if it cannot be read.

    It takes about 1 ms at most for any body (tests/load/worst_bodies.py). From XML with very much markup, it reads only
    the first `EARLY_BYTES`, which must then contain the token.
    """
    start, written_in = _recognize(body)
    if written_in is None:
        raise foreign(body)
    if written_in is Format.JSON:
        return Envelope(written_in, read_json(body, start), body, start)
    if is_costly(body):
        early = read_xml(body[: start + EARLY_BYTES], start, is_whole=False)
        return Envelope(written_in, early, body, start, is_early=True)
    return Envelope(written_in, read_xml(body, start), body, start)


def parse_url(query_string: str) -> Envelope:
    """The parameters of a URL; the last value of a repeated one."""
    return Envelope(
        Format.JSON, {name: values[-1] for name, values in parse_qs(query_string, keep_blank_values=True).items()}
    )


def parse_query(envelope: Envelope, default_grouping: Grouping) -> StatsQuery:
    """A filter that is 0, "" or omitted becomes None. BadRequest names the first wrong parameter."""
    members = envelope.members
    query = StatsQuery(
        parameters.ID.read(members),
        parameters.ACCOUNT_ID.read(members) or None,
        parameters.CAMPAIGN_ID.read(members) or None,
        parameters.ISP.read(members) or None,
        parameters.GROUP.read(members) or default_grouping,
    )
    return query.with_parts(parameters.WITH.read(members)) if parameters.WITH.name in members else query


def parse_top(envelope: Envelope) -> TopQuery:
    """The query for the largest or the oldest. All but `by=sender` require an `id`. BadRequest as `parse_query`."""
    members = envelope.members
    by = parameters.BY.read(members) or Dimension.SENDER
    order = parameters.ORDER.read(members) or Order.TOTAL
    status = parameters.STATUS.read(members)
    limit = parameters.LIMIT.read(members)
    if order is not Order.OLDEST:
        if status is not None:
            raise BadRequest("status is for order=oldest")
        return TopQuery(by, Measure(order), limit, None if by is Dimension.SENDER else parameters.ID.read(members))
    if by is not Dimension.SENDER:
        raise BadRequest("order=oldest is for by=sender")
    return TopQuery(by, status or Measure.TOTAL, limit, by_age=True)


def parse_history(envelope: Envelope, kept: Sequence[timedelta]) -> HistoryQuery:
    """`kept`: how long each of STEPS is kept. Defaults: the last hour, and the step of `HistoryQuery.finest_step`.

    BadRequest as `parse_query`.
    """
    members, now = envelope.members, datetime.now(UTC)
    isp, is_by_isp = parameters.ISP.read(members) or None, parameters.HISTORY_GROUP.read(members) is HistoryGrouping.ISP
    since, until = parameters.FROM.read(members, now), parameters.TO.read(members, now)
    if since >= until:
        raise BadRequest("from must be before to")
    has_isps = is_by_isp or isp is not None
    step = HistoryQuery.finest_step(since, until, now, kept, has_isps=has_isps)
    if members.get(parameters.STEP.name) not in (None, ""):
        step = parameters.STEP.read(members)
    if step not in STEPS:
        raise BadRequest(f"step must be {', '.join(map(str, STEPS[:-1]))} or {STEPS[-1]}")
    if has_isps and step == STEPS[0]:
        raise BadRequest(f"step {step} is for all ISPs together: leave out isp, with the group total")
    # None and not this machine's time, because the last step is the current step of the database.
    return HistoryQuery(parameters.ID.read(members), isp, is_by_isp, step, since, until if until < now else None)


def parse_report(envelope: Envelope) -> ReportQuery:
    """BadRequest as `parse_query`, and for an order that the rows do not support."""
    members = envelope.members
    by = parameters.REPORT_BY.read(members) or {By.SENDER}
    if By.NONE in by and len(by) > 1:
        raise BadRequest("by must be none alone, or a list of sender, account, campaign and isp")
    query = ReportQuery(
        tuple(Dimension(key) for key in By if key in by and key is not By.NONE),
        parameters.SENDERS.read(members),
        parameters.ACCOUNT_IDS.read(members),
        parameters.CAMPAIGN_IDS.read(members),
        parameters.ISPS.read(members),
        parameters.STATUS.read(members),
        parameters.SEARCH.read(members).strip(parameters.BLANKS),
        parameters.NAMES.read(members),
        parameters.REPORT_ORDER.read(members) or Order.KEY,
        parameters.REPORT_LIMIT.read(members),
        parameters.AFTER.read(members).strip(parameters.BLANKS),
        parameters.COUNT.read(members),
    )
    is_of_senders = query.by == (Dimension.SENDER,) and not query.has_filters and not query.search
    if query.order is Order.OLDEST and not is_of_senders:
        raise BadRequest("order=oldest is for by=sender, without account_id, campaign_id, isp and search")
    return query


def parse_presentation(envelope: Envelope, format: AnyFormat) -> Presentation:
    """The format of rows. XML has no numbers, so `ids` affects only JSON. BadRequest as `parse_query`."""
    ids = parameters.IDS.read(envelope.members) or Ids.NUMBER
    return Presentation(ids if format is Format.JSON else Ids.NUMBER, parameters.NAMES.read(envelope.members))


def parse_control(envelope: Envelope, action: Action) -> ControlRequest:
    """A filter has a value or is omitted: 0 and "", which reports print as keys, are refused with BadRequest."""
    members = envelope.members
    read_names = read_json_names if envelope.written_in is Format.JSON else read_xml_names
    refuse_ambiguous(read_names(envelope.body, envelope.start), members)
    refuse_empty(members.items())
    query = StatsQuery(
        parameters.ID.read(members),
        parameters.FILLED_ACCOUNT_ID.read_given(members),
        parameters.FILLED_CAMPAIGN_ID.read_given(members),
        parameters.ISP.read(members) or None,
    )
    request = ControlRequest(
        action,
        query,
        reason=parameters.REASON.read(members),
        expires_in_seconds=parameters.EXPIRES_IN.read(members),
        at_most=parameters.AT_MOST.read_given(members),
        hold_id=parameters.HOLD_ID.read_given(members),
    )
    if request.hold_id is not None and query != StatsQuery(query.sender_id):
        raise BadRequest("hold_id can't be combined with account_id, campaign_id or isp: the hold has its own filter")
    return request
