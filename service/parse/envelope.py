"""A request body, opened, and the question in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from service.errors import BadRequest
from service.model import Format, Grouping, StatsQuery
from service.parse.json_body import read_json
from service.parse.parameters import (
    parse_choice,
    parse_format,
    parse_text,
    parse_token,
    parse_whole_number,
    valid_format,
)
from service.parse.xml_body import read_xml

_LEAD = re.compile(rb"(?:[ \t\r\n]+|\xef\xbb\xbf)*")  # blanks and byte-order marks
_FORMATS = {b"{": Format.JSON, b"<": Format.XML}
_READERS = {Format.JSON: read_json, Format.XML: read_xml}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A body that could be read; whether its parameters are right is not known yet.

    `members` holds every member by its name, unknown ones too, each as it came: see `read_json`
    and `read_xml`. What a parameter means is for the methods and `parse_query` to say.
    """

    written_in: Format
    members: Mapping[str, object] = field(repr=False)  # the token is among them

    def token(self) -> str | None:
        """The body's token, trimmed; None where there is none; BadRequest where it is no string."""
        return parse_token(self.members.get("token"))

    def format(self) -> Format | None:
        """The body's `format`; None where it is left out; BadRequest where it is wrong."""
        return parse_format(self.members.get("format"))

    def valid_format(self) -> Format | None:
        """The body's `format` where it is a valid one. Never raises: for the format of an error."""
        return valid_format(self.members.get("format"))


def sniff(body: bytes) -> Format | None:
    """The format that the first byte after blanks and byte-order marks tells; None for no format."""
    return _FORMATS.get(_first(body)[1])


def _first(body: bytes) -> tuple[int, bytes]:
    lead = _LEAD.match(body)
    start = lead.end() if lead else 0
    return start, body[start : start + 1]


def parse_envelope(body: bytes) -> Envelope:
    """Reads a body of at most `MAX_BODY_BYTES`; BadRequest for whatever can't be read."""
    start, first = _first(body)
    written_in = _FORMATS.get(first)
    if written_in is None:
        raise BadRequest("the body must be a JSON object, or an XML document with the root <xml>")
    return Envelope(written_in, _READERS[written_in](body, start))


def parse_query(envelope: Envelope, default_grouping: Grouping) -> StatsQuery:
    """The question about a queue. A filter that is 0, "" or left out becomes None.

    BadRequest names the first wrong parameter, in the order of the fields.
    """
    value = envelope.members.get
    return StatsQuery(
        sender_id=parse_whole_number("id", value("id"), least=1),
        account_id=parse_whole_number("account_id", value("account_id"), least=0) or None,
        campaign_id=parse_whole_number("campaign_id", value("campaign_id"), least=0) or None,
        isp=parse_text(value("isp"), "isp must be a string without NUL and lone surrogates") or None,
        grouping=parse_choice("group", value("group"), Grouping) or default_grouping,
    )


def parse_analyze(envelope: Envelope) -> bool:
    """Whether a statement that is explained is to run as well; left out is no."""
    value = parse_whole_number("analyze", envelope.members.get("analyze"), least=0)
    if value > 1:
        raise BadRequest("analyze must be 0 or 1")
    return bool(value)
