"""A JSON body's members.

Most bodies are plain: a short object of strings and of whole numbers from 1, which msgspec decodes in 1 us. For other
bodies, msgspec checks the syntax but creates no objects for values (`msgspec.Raw`): 64 KiB of nested arrays take
0.2 ms, and 3 ms with the standard library. A parameter keeps its spelling: 119, 119.0 and 1e2 differ.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated

import msgspec

from service.errors import BadRequest
from service.wire.parsing.parameters import (
    LISTS,
    MAX_DEPTH,
    MAX_INT,
    MAX_ITEMS,
    MAX_MEMBERS,
    NOT_TEXT,
    PARAMETERS,
    Number,
)
from service.wire.parsing.refusals import TOO_DEEP, TOO_MANY_MEMBERS

# An object of this many bytes has at most MAX_MEMBERS members, because a member takes at least 5 bytes.
_MAX_PLAIN_BYTES = 1024
# From 1, because msgspec reads -0 as 0, and -0 is not a whole number here.
_PlainValue = str | Annotated[int, msgspec.Meta(ge=1, le=MAX_INT)]
_decode_plain = msgspec.json.Decoder(dict[str, _PlainValue]).decode
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_string = msgspec.json.Decoder(str).decode
_decode_plain_items = msgspec.json.Decoder(tuple[str | Annotated[int, msgspec.Meta(ge=0, le=MAX_INT)], ...]).decode
_decode_items = msgspec.json.Decoder(tuple[msgspec.Raw, ...]).decode
_MALFORMED = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")
_LONE_SURROGATE = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"  # a high one without a low one after it
    rb"|[c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB]..\\u[dD]...))",  # a low one without a high one before it
    re.DOTALL,
)
_OPENING = bytes.maketrans(b"[]{}", b"\1\0\1\0")
_CLOSING = bytes.maketrans(b"[]{}", b"\0\1\0\1")
_NEITHER_BRACKET_NOR_QUOTE = bytes(set(range(256)) - set(b'[]{}"'))
_ALLOWED_DEPTHS = bytes(range(MAX_DEPTH + 1))


def read_json(body: bytes, start: int) -> Mapping[str, object]:
    """The members of the object that begins at `start`; the last of repeated ones. Values: see `parameters`."""
    document = body[start:]
    # Such a body can't contain surrogates or control characters.
    if len(document) <= _MAX_PLAIN_BYTES and document.isascii() and b"\\" not in document:
        try:
            return _decode_plain(document)
        except msgspec.DecodeError:
            pass
    return read_any_json(document, start)


def read_any_json(document: bytes, start: int) -> Mapping[str, object]:
    """As `read_json`, for a body that is not plain. Raises BadRequest."""
    try:
        document.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body must be UTF-8, and is not after byte {start + error.start}") from None
    # The numbers of colons and brackets are limits of the number of members and of the depth.
    if document.count(b":") > MAX_MEMBERS:
        # Errors of syntax are reported below.
        with suppress(RecursionError, msgspec.DecodeError):
            _names(document)
    members = _read_members(document, start)
    if document.count(b"[") + document.count(b"{") > MAX_DEPTH:
        _check_depth(document)
    return {name: _value(raw, name in LISTS) if name in PARAMETERS else raw for name, raw in members.items()}


def read_json_names(body: bytes, start: int) -> list[str]:
    """The names in a body that `read_json` accepts, as often as they are written."""
    return _names(_without_lone_surrogates(body[start:]))


def _read_members(document: bytes, start: int) -> dict[str, msgspec.Raw]:
    with suppress(RecursionError, msgspec.DecodeError):
        return _decode(document)
    try:
        return _decode(_without_lone_surrogates(document))
    except RecursionError:
        raise BadRequest(TOO_DEEP) from None
    except msgspec.DecodeError as error:
        # The text of msgspec's error, which does not quote the body.
        found = _MALFORMED.fullmatch(str(error))
        mistake = f"{found[1]} at byte {start + int(found[2])}" if found else "it ends too early"
        raise BadRequest(f"the body must be one JSON object, and is not: {mistake}") from None


def _without_lone_surrogates(document: bytes) -> bytes:
    """Replaces lone surrogates, which msgspec refuses, by NUL. Parameters refuse both, other members accept both."""
    repaired, count = _LONE_SURROGATE.subn(rb"\\u0000", document.replace(rb"\\", rb"\u005c"))
    return repaired if count else document


def _check_depth(document: bytes) -> None:
    """For a document with correct syntax. A loop over 64 KiB would take 2 ms."""
    # The brackets are the digits of a number in base 256, +1 for an opening and -1 for a closing one. Divided by
    # 1 - 256, a digit becomes the sum of those before it: the depth at its bracket.
    brackets = _without_strings(document)
    opening = int.from_bytes(brackets.translate(_OPENING), "little")
    closing = int.from_bytes(brackets.translate(_CLOSING), "little")
    depths = ((closing - opening) // 255).to_bytes(len(brackets), "little")
    if depths.translate(None, _ALLOWED_DEPTHS):
        raise BadRequest(TOO_DEEP)


def _without_strings(document: bytes) -> bytes:
    """Only the brackets, without those in strings."""
    if b"\\" in document:
        document = document.replace(rb"\\", b"").replace(rb"\"", b"")
    brackets = document.translate(None, _NEITHER_BRACKET_NOR_QUOTE).replace(b'""', b"")
    return b"".join(brackets.split(b'"')[::2])


def _names(document: bytes) -> list[str]:
    """The names, with repeats. Stops at the first name beyond the limit, so thousands of names cost nothing."""
    names: list[str] = []

    def note(_: type, name: str) -> _Name:
        names.append(name)
        if len(names) > MAX_MEMBERS:
            raise BadRequest(TOO_MANY_MEMBERS)
        return _Name()

    msgspec.json.decode(document, type=dict[_Name, msgspec.Raw], dec_hook=note)
    return names


class _Name:
    """A member's name that is unequal to all others, so that a repeated member counts each time."""


def _value(raw: msgspec.Raw, is_list: bool) -> object:
    written = bytes(raw)
    first = written[:1]
    if first == b'"':
        return _decode_string(written)
    if first in b"-0123456789":
        return Number(written.decode())
    if is_list and first == b"[":
        return _items(written)
    return None if written == b"null" else NOT_TEXT


def _items(written: bytes) -> object:
    """The values of an array. An array that is not plain has few items, or is wrong: 1,000 would take 0.6 ms."""
    if b"-" not in written:
        with suppress(msgspec.DecodeError):
            return _decode_plain_items(written)
    items = _decode_items(written)
    return tuple(_value(item, is_list=False) for item in items) if len(items) <= MAX_ITEMS else NOT_TEXT
