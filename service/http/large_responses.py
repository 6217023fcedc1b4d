"""Large reports: rendered and sent in slices, and counted until their clients have read them."""

import asyncio
import hashlib
import logging
import zlib
from collections.abc import Iterator, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.access.budgets import UnreadResponse

logger = logging.getLogger(__name__)

# This level takes twice the time of level 1 for half of its size; higher levels save little more.
GZIP_LEVEL = 5
GZIP_WINDOW = 16 + zlib.MAX_WBITS
TAG_BYTES = 16
# The server accepts no more data while this much of a connection is unsent.
SLICE_BYTES = 1 << 16


class LargeResponse(Response):
    """A body that is sent in slices, as fast as the client reads it, and counts as unsent until then."""

    def __init__(
        self, slices: Sequence[bytes], unread: UnreadResponse, headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(None, headers={**headers, "Content-Length": str(unread.size)}, media_type=media_type)
        self._slices = slices
        self._unread = unread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            for piece in self._slices:
                for start in range(0, len(piece), SLICE_BYTES):
                    async with asyncio.timeout(self._unread.timeout_seconds):
                        body = piece[start : start + SLICE_BYTES]
                        await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            # The server closes the connection of an incomplete response.
            logger.warning("a client does not read its report unsent_bytes=%d", self._unread.size)
        finally:
            self._unread.release()


async def render_large(pieces: Iterator[bytes], is_gzip: bool, unread: UnreadResponse) -> tuple[list[bytes], str]:
    """The slices and their entity tag. Other tasks run between two slices; rendered slices count as unsent."""
    digest = hashlib.blake2b(digest_size=TAG_BYTES)
    packer = zlib.compressobj(GZIP_LEVEL, wbits=GZIP_WINDOW) if is_gzip else None
    slices: list[bytes] = []

    def hold(piece: bytes) -> None:
        unread.hold(len(piece))
        slices.append(piece)

    try:
        for piece in pieces:
            digest.update(piece)
            hold(packer.compress(piece) if packer else piece)
            await asyncio.sleep(0)
        if packer:
            hold(packer.flush())
    except BaseException:
        unread.release()
        raise
    return slices, entity_tag(digest)


def entity_tag(digest: "hashlib.blake2b") -> str:
    """A weak entity tag, because the compressed and the plain report are equivalent."""
    return f'W/"{digest.hexdigest()}"'
