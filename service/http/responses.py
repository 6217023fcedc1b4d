"""A report as a response: none where the client has it already, compressed where that saves a packet, a large one in
slices."""

import asyncio
import gzip
import hashlib
import logging
import zlib
from collections.abc import Iterator, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import Unavailable
from service.http.requests import QueueRequest
from service.model import Format, StatsReport, TopReport
from service.queue.coalescer import Outcome
from service.wire.rendering import MEDIA_TYPES, render_report, render_report_in_slices
from service.wire.rendering.rows import Shape

logger = logging.getLogger(__name__)

# Up to here a report is rendered in one go: a millisecond or two.
SMALL_REPORT_ROWS = 1000
SMALL_SHAPED_REPORT_ROWS = 200
# Less fits into one packet anyway.
WORTH_GZIP_BYTES = 1400
# Half the size of what level 1 leaves costs twice its time; beyond 5 there is little left to gain.
GZIP_LEVEL = 5
GZIP_WINDOW = 16 + zlib.MAX_WBITS
TAG_BYTES = 16
# The server takes no more from us while so much of a connection is unsent.
SLICE_BYTES = 1 << 16


class Unsent:
    """How many bytes of large reports wait for their clients to read them; one for each process."""

    def __init__(self, limit_bytes: int, send_timeout_ms: int) -> None:
        self.limit_bytes = limit_bytes
        self.timeout_seconds = send_timeout_ms / 1000
        self.held_bytes = 0

    def hold(self, size: int) -> None:
        """Raises Unavailable where it would be more than the limit."""
        if self.held_bytes + size > self.limit_bytes:
            raise Unavailable(": too many large reports wait to be read")
        self.held_bytes += size


class LargeResponse(Response):
    """A body that goes out slice by slice, as fast as the client reads it, and counts as unsent until then."""

    def __init__(self, slices: Sequence[bytes], unsent: Unsent, headers: dict[str, str], media_type: str) -> None:
        self._size = sum(map(len, slices))
        super().__init__(None, headers={**headers, "Content-Length": str(self._size)}, media_type=media_type)
        self._slices = slices
        self._unsent = unsent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            for piece in self._slices:
                for start in range(0, len(piece), SLICE_BYTES):
                    async with asyncio.timeout(self._unsent.timeout_seconds):
                        part = piece[start : start + SLICE_BYTES]
                        await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            # Without its end the server closes the connection.
            logger.warning("a client does not read its report unsent_bytes=%d", self._unsent.held_bytes)
        finally:
            self._unsent.held_bytes -= self._size


async def respond(
    request: QueueRequest,
    outcome: Outcome[StatsReport] | Outcome[TopReport],
    wanted: Format,
    unsent: Unsent,
    shape: Shape | None,
) -> Response:
    """Raises Unavailable where too many large reports wait for their clients already."""
    # Milliseconds in the database, and waiting for it.
    timing = f"db;dur={outcome.batch_seconds * 1000:.2f}, wait;dur={outcome.wait_seconds * 1000:.2f}"
    headers = {"Cache-Control": "no-store", "Server-Timing": timing}
    is_gzip = request.accepts_gzip()
    most_rows = SMALL_SHAPED_REPORT_ROWS if shape else SMALL_REPORT_ROWS
    if isinstance(outcome.result, StatsReport) and len(outcome.result.rows) > most_rows:
        slices, tag = await _render_large(render_report_in_slices(outcome.result, wanted, shape), is_gzip, unsent)
        headers["ETag"] = tag
        if request.has(tag):
            unsent.held_bytes -= sum(map(len, slices))
            return Response(status_code=304, headers=headers)
        return LargeResponse(slices, unsent, headers | (_GZIP if is_gzip else {}), MEDIA_TYPES[wanted])
    content = render_report(outcome.result, wanted, shape)
    headers["ETag"] = tag = _entity_tag(hashlib.blake2b(content, digest_size=TAG_BYTES))
    if request.has(tag):
        return Response(status_code=304, headers=headers)
    if is_gzip and len(content) >= WORTH_GZIP_BYTES:
        content, headers = gzip.compress(content, GZIP_LEVEL, mtime=0), headers | _GZIP
    return Response(content, headers=headers, media_type=MEDIA_TYPES[wanted])


_GZIP = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}


async def _render_large(pieces: Iterator[bytes], is_gzip: bool, unsent: Unsent) -> tuple[list[bytes], str]:
    """The slices and their entity tag. Between two, others get their turn; what is rendered is held from there on."""
    digest = hashlib.blake2b(digest_size=TAG_BYTES)
    packer = zlib.compressobj(GZIP_LEVEL, wbits=GZIP_WINDOW) if is_gzip else None
    slices: list[bytes] = []
    try:
        for piece in pieces:
            digest.update(piece)
            slices.append(packer.compress(piece) if packer else piece)
            unsent.hold(len(slices[-1]))
            await asyncio.sleep(0)
        if packer:
            slices.append(packer.flush())
            unsent.hold(len(slices[-1]))
    except BaseException:
        unsent.held_bytes -= sum(map(len, slices))
        raise
    return slices, _entity_tag(digest)


def _entity_tag(digest: "hashlib.blake2b") -> str:
    """A weak one: with and without compression the report is the same."""
    return f'W/"{digest.hexdigest()}"'
