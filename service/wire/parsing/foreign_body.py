"""Describes a body that is neither JSON nor XML, for the text of the error.

Nothing of the body is echoed: it may hold a token.
"""

import re
from typing import Final

from service.errors import BadRequest

READABLE: Final = "a JSON object, or an XML document with the root <xml>"
_CODINGS: Final = ("gzip", "deflate", "br", "zstd", "compress")
_FOREIGN: Final = (
    ("empty", re.compile(rb"[ \t\r\n]*\Z")),
    ("compressed with gzip", re.compile(rb"\x1f\x8b")),
    ("compressed with zstd", re.compile(rb"\x28\xb5\x2f\xfd")),
    ("compressed with deflate", re.compile(rb"x[\x01\x9c\xda]")),  # zlib's three usual headers that are no text
    ("UTF-16", re.compile(rb"\xff\xfe|\xfe\xff")),
    ("a form (multipart/form-data)", re.compile(rb"--[^\r\n]{1,70}\r?\nContent-", re.IGNORECASE)),
    ("a form (application/x-www-form-urlencoded)", re.compile(rb"(?:[\w.+*-]|%[\dA-Fa-f]{2})++=|%7B", re.IGNORECASE)),
)


def describe_foreign(body: bytes) -> str:
    """The words between "the body" and "must be": what the body is, or nothing if that is unknown."""
    found = next((name for name, pattern in _FOREIGN if pattern.match(body)), None)
    return f"is {found}; it " if found else ""


def compressed(coding: str) -> BadRequest:
    """The error for a body that could not be read and has this `Content-Encoding`, given in lower case."""
    known = coding.removeprefix("x-")
    name = known if known in _CODINGS else "an unknown coding"
    return BadRequest(f"the body is compressed (Content-Encoding: {name}); it must be {READABLE}, uncompressed")
