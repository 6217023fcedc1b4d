"""Log lines on standard error: one event per line, as `key=value`, without tokens, values of parameters and control
characters.

Writing to a full pipe blocks, so the standard library's QueueListener writes in its own thread. If the queue is full,
lines are dropped and counted. A repeated warning is written once, and later with the number of repetitions.
"""

import atexit
import logging
import os
import queue
import sys
import time
import traceback
from logging.handlers import QueueHandler, QueueListener

from pythonjsonlogger.json import JsonFormatter

from service.telemetry.text import escape

LINES_WAITING = 10_000
REPEAT_SECONDS = 10.0
# The time limit for remaining lines when the process ends.
FLUSH_SECONDS = 1.0
# As JSON, a line of a request has separate fields: those of `extra`.
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def configure_logging(level: str, log_format: str = "text") -> None:
    """Sends the lines of all loggers, including the HTTP server's, to standard error in one format."""
    lines: queue.Queue[logging.LogRecord] = queue.Queue(LINES_WAITING)
    formatter = (JsonFormatter if log_format == "json" else logging.Formatter)(FORMAT)
    writer = Writer(lines, sys.stderr.fileno(), formatter)
    writer.start()
    atexit.register(writer.flush)
    logging.basicConfig(level=level.upper(), handlers=[DroppingHandler(lines, writer)], force=True)
    # The application logs its exceptions in one line; the server would add a traceback.
    faults = ("Exception in ASGI application", "ASGI callable returned without")
    logging.getLogger("uvicorn.error").addFilter(lambda record: not str(record.msg).startswith(faults))
    # Alembic logs every plug-in that it loads.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def announce(text: str) -> None:
    """Prints a line for the person who started the program, at any log level; it does not block either."""
    logging.getLogger().handle(logging.makeLogRecord({"msg": text, "levelno": logging.INFO, "is_plain": True}))


class DroppingHandler(QueueHandler):
    """Never waits for space in the queue."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord]", writer: "Writer") -> None:
        super().__init__(lines)
        self._writer = writer

    def format(self, record: logging.LogRecord) -> str:
        """One line without a traceback: for a lost connection of the driver, a traceback adds nothing."""
        message = escape(" ".join(record.getMessage().split("\n")))
        error = record.exc_info[1] if record.exc_info else None
        return f"{message} error={type(error).__module__}.{type(error).__qualname__}" if error else message

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._writer.dropped += 1


class Writer(QueueListener):
    """Writes the queue's lines to a file descriptor, in its own thread.

    It has no handlers: at the exit, logging takes the lock of every handler, and a blocked write would hold it.
    """

    def __init__(self, lines: "queue.Queue[logging.LogRecord]", descriptor: int, formatter: logging.Formatter) -> None:
        super().__init__(lines)
        self._lines = lines
        self._descriptor = descriptor
        self._format = formatter.format
        # By line: the time when it may be written again, the number of suppressed repetitions, and its latest record.
        self._repeated: dict[tuple[str, int, str], tuple[float, int, logging.LogRecord]] = {}
        self.dropped = 0

    def dequeue(self, block: bool) -> logging.LogRecord:
        while True:
            try:
                return self._lines.get(block, timeout=1.0)
            except queue.Empty:
                self._write_repetitions(time.monotonic())

    def handle(self, record: logging.LogRecord) -> None:
        if self.dropped:
            count, self.dropped = self.dropped, 0
            dropped = f"log lines dropped count={count}"
            self._write(logging.LogRecord(__name__, logging.WARNING, "", 0, dropped, None, None))
        key = record.name, record.levelno, record.getMessage()
        if key in self._repeated:
            again_at, count, _ = self._repeated[key]
            self._repeated[key] = again_at, count + 1, record
        else:
            if record.levelno >= logging.WARNING:
                self._repeated[key] = time.monotonic() + REPEAT_SECONDS, 0, record
            self._write(record)
        self._write_repetitions(time.monotonic())

    def flush(self) -> None:
        """Waits until all lines are written, for at most FLUSH_SECONDS. `stop` has no limit for a blocked write."""
        with self._lines.all_tasks_done:
            is_written = self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, FLUSH_SECONDS)
        if is_written:
            self._write_repetitions(float("inf"))

    def _write_repetitions(self, now: float) -> None:
        for key, (again_at, count, record) in list(self._repeated.items()):
            if again_at > now:
                return
            del self._repeated[key]
            if count:
                record.msg = f"{record.msg} repeated={count}"
                self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        line = record.getMessage() if hasattr(record, "is_plain") else self._format(record)
        rest = f"{line}\n".encode("utf-8", "backslashreplace")
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def format_frames(error: BaseException) -> str:
    """The class of a fault and its frames, without its message, which may contain data of a client."""
    frames = traceback.extract_tb(error.__traceback__)
    path = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__module__}.{type(error).__qualname__} at {path}"
