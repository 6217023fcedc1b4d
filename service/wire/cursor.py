"""The cursor of a page: opaque to clients, and bound to the query that it belongs to. Pure."""

import base64
import hashlib
from contextlib import suppress
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from service.errors import BadRequest
from service.model import ReportQuery

_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=1 - 2**63, le=2**63 - 1)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[^\0]*\Z")]
_Place: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
# The digest has no secret: a client can create cursors.
BY_KEYS: Final = tuple[_Number, _Number, _Number, _Number, _Text]
BY_COUNT: Final = tuple[_Number, _Number, _Place]
BY_AGE: Final = tuple[_Text, _Number, _Place]
_DIGEST_BYTES: Final = 12


def write_cursor(query: ReportQuery, position: tuple[int | str, ...]) -> str:
    """The cursor for the next page of the same query, whose limit may differ; see `read_cursor`."""
    # Not JSON, in which a control character in an ISP's name takes six bytes.
    written = msgspec.msgpack.encode(position)
    return base64.urlsafe_b64encode(_digest(query, written) + written).decode().rstrip("=")


def read_cursor(query: ReportQuery, kind: Any) -> tuple[int | str, ...] | None:
    """The position after which the page begins; None for the first page. Raises BadRequest."""
    if not query.after:
        return None
    with suppress(ValueError):
        cursor = base64.b64decode(query.after + "=" * (-len(query.after) % 4), b"-_", validate=True)
        digest, written = cursor[:_DIGEST_BYTES], cursor[_DIGEST_BYTES:]
        if digest == _digest(query, written):
            position: tuple[int | str, ...] = msgspec.msgpack.decode(written, type=kind)
            return position
    raise BadRequest("after must be the next of a page of the same query")


def _digest(query: ReportQuery, written: bytes) -> bytes:
    question = msgspec.structs.replace(query, limit=0, after="", has_count=False)
    return hashlib.blake2b(msgspec.json.encode(question) + written, digest_size=_DIGEST_BYTES).digest()
