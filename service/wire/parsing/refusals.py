"""Refusals of bodies and of names of parameters. No part of a body is echoed.

`stats` ignores unknown parameters, as the documented API does. Other endpoints refuse them. Calls with effects also
refuse repeated parameters and parameters without a value: otherwise a misspelt filter would select every message.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from difflib import get_close_matches
from typing import Final

from service.errors import BadRequest
from service.wire.parsing.parameters import ACCEPTED, BLANKS, MAX_DEPTH, MAX_MEMBERS, PARAMETERS, URL_PARAMETERS

# The longest name in a list in a header. A token is longer, so that a token in place of a name is not echoed.
_PLAIN_NAME = re.compile(r"[!-+\--~]{1,32}")
_MOST_UNKNOWN_NAMES = 8
TOO_DEEP: Final = f"the body must nest {MAX_DEPTH} levels at most, and close each of them"
TOO_MANY_MEMBERS: Final = f"the body must have {MAX_MEMBERS} members at most"
_READABLE: Final = "a JSON object, or an XML document with the root <xml>"
_CODINGS: Final = ("gzip", "deflate", "br", "zstd", "compress")
_FOREIGN: Final = (
    ("empty", re.compile(rb"[ \t\r\n]*\Z")),
    ("compressed with gzip", re.compile(rb"\x1f\x8b")),
    ("compressed with zstd", re.compile(rb"\x28\xb5\x2f\xfd")),
    ("compressed with deflate", re.compile(rb"x[\x01\x9c\xda]")),  # the three usual headers of zlib that are not text
    ("UTF-16", re.compile(rb"\xff\xfe|\xfe\xff")),
    ("a form (multipart/form-data)", re.compile(rb"--[^\r\n]{1,70}\r?\nContent-", re.IGNORECASE)),
    ("a form (application/x-www-form-urlencoded)", re.compile(rb"(?:[\w.+*-]|%[\dA-Fa-f]{2})++=|%7B", re.IGNORECASE)),
)


def foreign(body: bytes) -> BadRequest:
    """The error for a body that is neither JSON nor XML."""
    found = next((name for name, pattern in _FOREIGN if pattern.match(body)), None)
    return BadRequest(f"the body {f'is {found}; it ' if found else ''}must be {_READABLE}")


def compressed(coding: str) -> BadRequest:
    """The error for a body that could not be read and has this `Content-Encoding`, given in lower case."""
    name = coding.removeprefix("x-") if coding.removeprefix("x-") in _CODINGS else "an unknown coding"
    return BadRequest(f"the body is compressed (Content-Encoding: {name}); it must be {_READABLE}, uncompressed")


def unknown_names(names: Iterable[str], accepted: Sequence[str]) -> list[str]:
    """The names that are not accepted, safe for a header: the first few that are short and plain."""
    return [name for name in names if name not in accepted and _PLAIN_NAME.fullmatch(name)][:_MOST_UNKNOWN_NAMES]


def refuse_unknown(endpoint: str, names: Iterable[str]) -> None:
    """Raises BadRequest for the first name that the endpoint does not accept, and suggests a similar one."""
    accepted = ACCEPTED[endpoint]
    for name in names:
        if name not in accepted:
            meant = _near(name, accepted)
            advice = f"; did you mean {meant}?" if meant else f", which takes {', '.join(accepted)}"
            raise BadRequest(f"{_quotable(name)} is not a parameter of {endpoint}{advice}")


def refuse_in_url(endpoint: str, names: Iterable[str]) -> None:
    """Raises BadRequest for the first name that the URL of a POST may not have."""
    for name in names:
        if name not in URL_PARAMETERS:
            meant = _near(name, ACCEPTED[endpoint])
            place = "" if meant in URL_PARAMETERS else " in the body"
            advice = f"; did you mean {meant}{place}?" if meant else ""
            raise BadRequest(f"{_quotable(name)} is not accepted in the URL, which takes token and format{advice}")


def refuse_ambiguous(names: Sequence[str], members: Container[str]) -> None:
    """Raises BadRequest for the first name that is repeated, or that is an attribute of `<xml>`."""
    for name, count in Counter(names).items():
        if count > 1:
            raise BadRequest(f"{_quotable(name)} must be given once, and is given {count} times")
    for name in names:
        if name not in members:
            raise BadRequest(f"{_quotable(name)} must not be an attribute: a parameter is an element of <xml>")


def refuse_empty(members: Iterable[tuple[str, object]]) -> None:
    """Raises BadRequest for the first parameter that is null, empty or blank."""
    for name, value in members:
        if value is None or (isinstance(value, str) and not value.strip(BLANKS)):
            raise BadRequest(f"{_quotable(name)} must have a value, or be omitted")


def _near(name: str, accepted: Sequence[str]) -> str | None:
    """The accepted name that is most likely meant. None for a parameter of another endpoint."""
    if name in PARAMETERS and name not in accepted:
        return None
    return next(iter(get_close_matches(name.lower(), accepted, n=1)), None)


def _quotable(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else "a name that is too long or not plain"
