"""Log lines: one event each, `key=value`, on standard error; never a token, never a parameter's value."""

import asyncio
import logging
import sys
import traceback


def configure_logging(level: str) -> None:
    """Sends every logger's lines, the HTTP server's too, to standard error in one form."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr, force=True
    )
    # Requests that the end of the server cuts off are told of in one line; their tracebacks say no more.
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    # Alembic tells of every plug-in that it loads.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def describe(error: BaseException) -> str:
    """Where an error of ours arose: class and frames, without its message, which may hold what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    way = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__module__}.{type(error).__qualname__} at {way}"
