"""Request bytes to a query: body -> `Envelope` -> `StatsQuery`. Pure; raises nothing but `BadRequest`.

`json_body` and `xml_body` read the two formats into the same members, `parameters` holds the
rules for one value each, and `envelope` puts them together.
"""

from service.parsing.envelope import Envelope, parse_analyze, parse_envelope, parse_query, sniff
from service.parsing.limits import MAX_BODY_BYTES, MAX_DEPTH, MAX_MEMBERS
from service.parsing.parameters import parse_format, parse_token, valid_format

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_DEPTH",
    "MAX_MEMBERS",
    "Envelope",
    "parse_analyze",
    "parse_envelope",
    "parse_format",
    "parse_query",
    "parse_token",
    "sniff",
    "valid_format",
]
