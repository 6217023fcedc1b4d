"""A JSON body's members.

The standard library's decoder, because it hands over each number as it was written: 119, 119.0 and
1e2 stay different, and thousands of digits cost nothing. A faster decoder that converts numbers
would need a second pass for that.
"""

import json
import re
from collections.abc import Mapping
from typing import NoReturn

from service.errors import BadRequest
from service.parse.limits import MAX_DEPTH, MAX_MEMBERS, too_deep, too_many_members
from service.parse.parameters import BLANKS

# The closing quote is optional, so that an open string is passed over once and not once per quote.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))


class Number(str):
    """A JSON number, as it was written. Not exactly a `str`, so no string parameter takes it."""

    __slots__ = ()


def _refuse_constant(_: str) -> NoReturn:
    raise BadRequest("the body must be JSON, which has no NaN and no Infinity")


_DECODER = json.JSONDecoder(
    object_pairs_hook=list,  # repeated members must be counted
    parse_int=Number,
    parse_float=Number,
    parse_constant=_refuse_constant,
)


def read_json(body: bytes, start: int) -> Mapping[str, object]:
    """The members of the object that begins at `start`; of a repeated one the last.

    A value is a `str`, a `Number`, a bool, None, or a list (for an array and an object alike).
    """
    document = body[start:]
    # A body with so few brackets cannot be too deep.
    if document.count(b"[") + document.count(b"{") > MAX_DEPTH:
        _check_depth(document)
    try:
        text = document.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body must be UTF-8, and is not after byte {start + error.start}") from None
    try:
        pairs, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        raise _broken(start, text, error.pos) from None
    if end < len(text) and text[end:].strip(BLANKS):
        raise _broken(start, text, end)
    if len(pairs) > MAX_MEMBERS:
        raise too_many_members()
    return dict(pairs)


def _broken(start: int, text: str, position: int) -> BadRequest:
    good_bytes = start + len(text[:position].encode())
    return BadRequest(f"the body must be one JSON object, and is not after byte {good_bytes}")


def _check_depth(document: bytes) -> None:
    """Takes the innermost pairs of brackets away, a level at a time: a loop over levels, not bytes."""
    brackets = _STRING.sub(b"", document).translate(_SQUARE, _NO_BRACKET)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return
    raise too_deep()
