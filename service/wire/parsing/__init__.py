"""Request bytes to a query: body -> `Envelope` -> `StatsQuery`. Pure; raises nothing but `BadRequest`.

`json_body` and `xml_body` read the two formats into the same members, `parameters` holds the
rules for one value each.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from urllib.parse import parse_qs

from service.errors import BadRequest
from service.model import (
    MAX_REASON_CHARACTERS,
    Action,
    ControlRequest,
    Dimension,
    Format,
    Grouping,
    Ids,
    Measure,
    Presentation,
    StatsQuery,
    TopQuery,
)
from service.wire.parsing.accepted import (
    ACCEPTED,
    URL_PARAMETERS,
    refuse_doubled,
    refuse_empty,
    refuse_in_url,
    refuse_misplaced,
    refuse_unknown,
    unknown_names,
)
from service.wire.parsing.foreign_body import READABLE, compressed, describe_foreign
from service.wire.parsing.json_body import read_json, read_json_names
from service.wire.parsing.parameters import (
    MAX_BODY_BYTES,
    parse_choice,
    parse_flag,
    parse_format,
    parse_text,
    parse_token,
    parse_whole_number,
    valid_format,
)
from service.wire.parsing.xml_body import EARLY_BYTES, is_costly, read_xml, read_xml_names

__all__ = ["ACCEPTED", "MAX_BODY_BYTES", "URL_PARAMETERS", "Envelope", "compressed", "parse_control", "parse_envelope"]
__all__ += ["parse_flag", "parse_format", "parse_interval", "parse_presentation", "parse_query", "parse_sender"]
__all__ += ["parse_token", "parse_top", "refuse_empty", "refuse_in_url", "refuse_unknown", "sniff", "unknown_names"]
__all__ += ["url_envelope", "valid_format"]

_LEAD = re.compile(rb"[ \t\r\n]*+(?:\xef\xbb\xbf[ \t\r\n]*+)*+")  # blanks and byte-order marks
_FORMATS = {b"{": Format.JSON, b"<": Format.XML}
MAX_TOP_ROWS = 1000
INTERVAL_MS = (100, 60_000)
REASON = f"reason must be a string of at most {MAX_REASON_CHARACTERS} characters without NUL and lone surrogates"
MAX_EXPIRES_IN_SECONDS = 31_536_000


class Envelope:
    """A body that could be read; whether its parameters are right is not known yet.

    `early` are the members that the token and the format of an error are taken from. They are all members, unless the
    rest costs so much that it is read for a valid token only: then `read_all` reads it.
    """

    def __init__(
        self,
        written_in: Format,
        early: Mapping[str, object],
        read_all: Callable[[], Mapping[str, object]] | None = None,
        read_names: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.written_in = written_in
        self._early = early
        self._read_all = read_all or (lambda: early)
        self._read_names = read_names or (lambda: list(early))

    @cached_property
    def members(self) -> Mapping[str, object]:
        """Every member by its name, unknown ones too: see `read_json` and `read_xml`. BadRequest as these."""
        return self._read_all()

    def token(self) -> str | None:
        """The body's token, trimmed; None where there is none; BadRequest where it is no string."""
        return parse_token(self._early.get("token"))

    def format(self) -> Format | None:
        """The body's `format`; None where it is left out; BadRequest where it is wrong."""
        return parse_format(self.members.get("format"))

    def valid_format(self) -> Format | None:
        """The body's `format` where it is a valid one. Never raises: for the format of an error."""
        return valid_format(self._early.get("format"))

    def names(self) -> Sequence[str]:
        """The name of every member; a repeated name as often as it is written. Reads the body once more."""
        return self._read_names()


def sniff(body: bytes) -> Format | None:
    """The format that the first byte after blanks and byte-order marks tells; None for no format."""
    start = _start(body)
    return _FORMATS.get(body[start : start + 1])


def _start(body: bytes) -> int:
    """Where the document begins: behind blanks and byte-order marks."""
    if body[:1] in _FORMATS:
        return 0
    lead = _LEAD.match(body)
    return lead.end() if lead else 0


def parse_envelope(body: bytes) -> Envelope:
    """Reads a body of at most `MAX_BODY_BYTES`; BadRequest for whatever can't be read.

    It takes about 1 ms at most, whatever the body holds (tests/load/worst_bodies.py). Of XML with very much markup only
    the first `EARLY_BYTES` are read here, where its token has to stand then.
    """
    start = _start(body)
    written_in = _FORMATS.get(body[start : start + 1])
    if written_in is None:
        raise BadRequest(f"the body {describe_foreign(body)}must be {READABLE}")
    if written_in is Format.JSON:
        return Envelope(Format.JSON, read_json(body, start), read_names=partial(read_json_names, body, start))
    read_names = partial(read_xml_names, body, start)
    if is_costly(body):
        early = read_xml(body[: start + EARLY_BYTES], start, is_whole=False)
        return Envelope(Format.XML, early, partial(read_xml, body, start), read_names)
    return Envelope(Format.XML, read_xml(body, start), read_names=read_names)


def url_envelope(query_string: str) -> Envelope:
    """The parameters of a GET; of a repeated one the last. The token is none of them: URLs are kept in logs."""
    members = {name: values[-1] for name, values in parse_qs(query_string, keep_blank_values=True).items()}
    members.pop("token", None)
    return Envelope(Format.JSON, members)


def parse_query(envelope: Envelope, default_grouping: Grouping) -> StatsQuery:
    """The query about a queue. A filter that is 0, "" or left out becomes None.

    BadRequest names the first wrong parameter, in the order of the fields.
    """
    grouping = envelope.members.get("group")
    return StatsQuery(*_parse_filter(envelope), parse_choice("group", grouping, Grouping) or default_grouping)


def _parse_filter(envelope: Envelope, least: int = 0) -> tuple[int, int | None, int | None, str | None]:
    """The sender, the account, the campaign and the ISP. `least` is the smallest account or campaign accepted."""
    value = envelope.members.get
    return (
        parse_whole_number("id", value("id"), least=1),
        _parse_given(envelope, "account_id", least) or None,
        _parse_given(envelope, "campaign_id", least) or None,
        parse_text(value("isp"), "isp must be a string without NUL and lone surrogates") or None,
    )


def parse_top(envelope: Envelope) -> TopQuery:
    """The query for the largest; an `id` belongs to all but `by=sender`. BadRequest as `parse_query`."""
    value = envelope.members.get
    by = parse_choice("by", value("by"), Dimension) or Dimension.SENDER
    return TopQuery(
        by,
        parse_choice("order", value("order"), Measure) or Measure.TOTAL,
        parse_whole_number("limit", value("limit") or "100", least=1, most=MAX_TOP_ROWS),
        None if by is Dimension.SENDER else parse_whole_number("id", value("id"), least=1),
    )


def parse_presentation(envelope: Envelope, format: Format) -> Presentation:
    """How the rows of a reading call are written. XML has no numbers, so `ids` affects only JSON.

    BadRequest as `parse_query`.
    """
    ids = parse_choice("ids", envelope.members.get("ids"), Ids) or Ids.NUMBER
    has_names = parse_flag("names", envelope.members.get("names"))
    return Presentation(ids if format is Format.JSON else Ids.NUMBER, has_names)


def parse_control(envelope: Envelope, action: Action) -> ControlRequest:
    """The action and its messages. BadRequest as `parse_query`, and for a parameter that is not accepted.

    A filter has a value or is left out. 0 and "", which reports print as keys of rows, are refused.
    """
    names = envelope.names()
    refuse_doubled(names)
    refuse_misplaced(names, envelope.members)
    refuse_empty(envelope.members.items())
    query, value = StatsQuery(*_parse_filter(envelope, least=1)), envelope.members.get
    request = ControlRequest(
        action,
        query,
        reason=_parse_reason(value("reason")),
        expires_in_seconds=parse_whole_number("expires_in", value("expires_in"), least=0, most=MAX_EXPIRES_IN_SECONDS),
        at_most=_parse_given(envelope, "at_most", least=0),
        hold_id=_parse_given(envelope, "hold_id", least=1),
    )
    if request.hold_id is not None and query != StatsQuery(query.sender_id):
        raise BadRequest("hold_id can't be combined with account_id, campaign_id or isp: the hold has its own filter")
    return request


def _parse_given(envelope: Envelope, name: str, least: int) -> int | None:
    """The whole number, or None if it is left out."""
    return parse_whole_number(name, envelope.members[name], least) if name in envelope.members else None


def _parse_reason(value: object) -> str:
    reason = parse_text(value, REASON)
    if len(reason) > MAX_REASON_CHARACTERS:
        raise BadRequest(REASON)
    return reason


def parse_sender(envelope: Envelope) -> int:
    return parse_whole_number("id", envelope.members.get("id"), least=1)


def parse_interval(envelope: Envelope) -> int:
    """Milliseconds between two events of a stream."""
    given = envelope.members.get("interval_ms") or "1000"
    return parse_whole_number("interval_ms", given, *INTERVAL_MS)
