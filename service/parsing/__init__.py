"""Request bytes to a query: body -> `Envelope` -> `StatsQuery`. Pure; raises nothing but `BadRequest`.

`json_body` and `xml_body` read the two formats into the same members, `parameters` holds the
rules for one value each.
"""

import re
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from urllib.parse import parse_qs

from service.errors import BadRequest
from service.model import (
    MAX_REASON_CHARACTERS,
    Action,
    ControlRequest,
    Count,
    Format,
    Grouping,
    Ids,
    Key,
    Presentation,
    StatsQuery,
    TopQuery,
)
from service.parsing.json_body import read_json
from service.parsing.parameters import (
    MAX_BODY_BYTES,
    PARAMETERS,
    URL_PARAMETERS,
    parse_choice,
    parse_flag,
    parse_format,
    parse_text,
    parse_token,
    parse_whole_number,
    valid_format,
)
from service.parsing.xml_body import EARLY_BYTES, is_costly, read_xml

__all__ = ["MAX_BODY_BYTES", "Envelope", "parse_control", "parse_envelope", "parse_flag"]
__all__ += ["parse_format", "parse_interval", "parse_presentation", "parse_query", "parse_sender", "parse_token"]
__all__ += ["parse_top", "sniff", "url_envelope", "valid_format"]

_LEAD = re.compile(rb"[ \t\r\n]*+(?:\xef\xbb\xbf[ \t\r\n]*+)*+")  # blanks and byte-order marks
_FORMATS = {b"{": Format.JSON, b"<": Format.XML}
# What a header can hold in a list. A token is longer, so that one written in a name's place is not echoed.
_PLAIN_NAME = re.compile(r"[!-+\--~]{1,32}")
_MOST_UNKNOWN_NAMES = 8
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
        known: frozenset[str] = PARAMETERS,
    ) -> None:
        self.written_in = written_in
        self._early = early
        self._known = known
        self._read_all = read_all or (lambda: early)

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

    def unknown_names(self) -> list[str]:
        """Names of members that are no parameter, fit for a header: the first few that are short and plain."""
        unknown = [name for name in self.members if name not in self._known and _PLAIN_NAME.fullmatch(name)]
        return unknown[:_MOST_UNKNOWN_NAMES]


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
        raise BadRequest("the body must be a JSON object, or an XML document with the root <xml>")
    if written_in is Format.JSON:
        return Envelope(Format.JSON, read_json(body, start))
    if is_costly(body):
        early = read_xml(body[: start + EARLY_BYTES], start, is_whole=False)
        return Envelope(Format.XML, early, partial(read_xml, body, start))
    return Envelope(Format.XML, read_xml(body, start))


def url_envelope(query_string: str) -> Envelope:
    """The parameters of a GET; of a repeated one the last. The token is none of them: URLs are kept in logs."""
    members = {name: values[-1] for name, values in parse_qs(query_string, keep_blank_values=True).items()}
    members.pop("token", None)
    return Envelope(Format.JSON, members, known=URL_PARAMETERS)


def parse_query(envelope: Envelope, default_grouping: Grouping) -> StatsQuery:
    """The query about a queue. A filter that is 0, "" or left out becomes None.

    BadRequest names the first wrong parameter, in the order of the fields.
    """
    grouping = envelope.members.get("group")
    return StatsQuery(*_parse_filter(envelope), parse_choice("group", grouping, Grouping) or default_grouping)


def _parse_filter(envelope: Envelope) -> tuple[int, int | None, int | None, str | None]:
    """The sender, the account, the campaign and the ISP."""
    value = envelope.members.get
    return (
        parse_whole_number("id", value("id"), least=1),
        parse_whole_number("account_id", value("account_id"), least=0) or None,
        parse_whole_number("campaign_id", value("campaign_id"), least=0) or None,
        parse_text(value("isp"), "isp must be a string without NUL and lone surrogates") or None,
    )


def parse_top(envelope: Envelope) -> TopQuery:
    """The query for the largest; an `id` belongs to all but `by=sender`. BadRequest as `parse_query`."""
    value = envelope.members.get
    by = parse_choice("by", value("by"), Key) or Key.SENDER
    return TopQuery(
        by,
        parse_choice("order", value("order"), Count) or Count.TOTAL,
        parse_whole_number("limit", value("limit") or "100", least=1, most=MAX_TOP_ROWS),
        None if by is Key.SENDER else parse_whole_number("id", value("id"), least=1),
    )


def parse_presentation(envelope: Envelope, format: Format) -> Presentation:
    """How the rows of a reading call are written. XML has no numbers, so `ids` changes JSON alone.

    BadRequest as `parse_query`.
    """
    ids = parse_choice("ids", envelope.members.get("ids"), Ids) or Ids.NUMBER
    has_names = parse_flag("names", envelope.members.get("names"))
    return Presentation(ids if format is Format.JSON else Ids.NUMBER, has_names)


def parse_control(envelope: Envelope, action: Action) -> ControlRequest:
    """What is to be done to which messages. BadRequest as `parse_query`."""
    value = envelope.members.get
    query = StatsQuery(*_parse_filter(envelope))
    if action is not Action.HOLD:
        return ControlRequest(action, query)
    reason = parse_text(value("reason"), REASON)
    if len(reason) > MAX_REASON_CHARACTERS:
        raise BadRequest(REASON)
    seconds = parse_whole_number("expires_in", value("expires_in"), least=0, most=MAX_EXPIRES_IN_SECONDS)
    return ControlRequest(action, query, reason, seconds)


def parse_sender(envelope: Envelope) -> int:
    return parse_whole_number("id", envelope.members.get("id"), least=1)


def parse_interval(envelope: Envelope) -> int:
    """Milliseconds between two events of a stream."""
    given = envelope.members.get("interval_ms") or "1000"
    return parse_whole_number("interval_ms", given, *INTERVAL_MS)
