"""The cursor of a page: opaque to clients, and bound to the query that it belongs to. Pure."""

import base64
import hashlib
from contextlib import suppress
from typing import Final

import msgspec

from service.errors import BadRequest
from service.model import ReportQuery

_DIGEST_BYTES: Final = 12


def write_cursor(query: ReportQuery, position: tuple[int | str, ...]) -> str:
    """What `read_cursor` reads from the next page of the same query, whose limit may be another."""
    written = msgspec.json.encode(position)
    return base64.urlsafe_b64encode(_digest(query, written) + written).decode().rstrip("=")


def read_cursor(query: ReportQuery) -> tuple[int | str, ...] | None:
    """The position that the page begins after; None for the first page. Raises BadRequest."""
    if not query.after:
        return None
    with suppress(ValueError):
        cursor = base64.b64decode(query.after + "=" * (-len(query.after) % 4), b"-_", validate=True)
        digest, written = cursor[:_DIGEST_BYTES], cursor[_DIGEST_BYTES:]
        if digest == _digest(query, written):
            return msgspec.json.decode(written, type=tuple[int | str, ...])
    raise BadRequest("after must be the next of a page of the same query")


def _digest(query: ReportQuery, written: bytes) -> bytes:
    question = msgspec.structs.replace(query, limit=0, after="", has_count=False)
    return hashlib.blake2b(msgspec.json.encode(question) + written, digest_size=_DIGEST_BYTES).digest()
