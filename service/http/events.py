"""Server-Sent Events: how events are written, and the response that sends them."""

from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent

# A proxy that compresses a stream holds its events back until a block is full.
NO_TRANSFORM = {"Cache-Control": "no-store, no-transform"}
# Proxies close a connection that is silent for a minute, or half of one.
HEARTBEAT_SECONDS = 15


def encode_event(name: str, data: bytes, id_: str | None = None) -> bytes:
    """An event as it goes over the wire. `data` is UTF-8."""
    return ServerSentEvent(data.decode(), event=name, id=id_).encode()


def event_response(events: AsyncIterator[bytes], grace_seconds: float) -> EventSourceResponse:
    """A stream that ends with its events. When the server stops, they may go on for `grace_seconds`."""
    return EventSourceResponse(
        events, headers=NO_TRANSFORM, ping=HEARTBEAT_SECONDS, shutdown_grace_period=grace_seconds
    )
