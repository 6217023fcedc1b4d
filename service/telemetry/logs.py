"""Log lines: one event each, `key=value`, on standard error; never a token, never a parameter's value.

Writing may block, on a pipe that nobody reads say, so a thread of its own does it. What it has no room for is dropped
and counted. A warning that repeats is written once, and then with the number of its repetitions.
"""

import atexit
import logging
import os
import queue
import sys
import threading
import time
import traceback
from logging.handlers import QueueHandler

from pythonjsonlogger.json import JsonFormatter

LINES_WAITING = 10_000
REPEAT_SECONDS = 10.0
# At the end of the process, for what still waits.
FLUSH_SECONDS = 1.0
# As JSON, a line for a request has its fields one by one: what `extra` gave it.
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def configure_logging(level: str, log_format: str = "text") -> None:
    """Sends every logger's lines, the HTTP server's too, to standard error in one form."""
    lines: queue.Queue[logging.LogRecord] = queue.Queue(LINES_WAITING)
    formatter = (JsonFormatter if log_format == "json" else logging.Formatter)(FORMAT)
    writer = Writer(lines, sys.stderr.fileno(), formatter)
    threading.Thread(target=writer.write_forever, name="log", daemon=True).start()
    atexit.register(writer.flush)
    logging.basicConfig(level=level.upper(), handlers=[DroppingHandler(lines, writer)], force=True)
    # What the application raises it has logged itself, in one line; the server would add a traceback.
    logging.getLogger("uvicorn.error").addFilter(_is_not_the_applications)
    # Alembic tells of every plug-in that it loads.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def announce(text: str) -> None:
    """A line for the person who started the program, whatever the level; it does not block either."""
    record = logging.makeLogRecord({"msg": text, "levelno": logging.INFO, "is_plain": True})
    logging.getLogger().handle(record)


class DroppingHandler(QueueHandler):
    """Never waits for room."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord]", writer: "Writer") -> None:
        super().__init__(lines)
        self._writer = writer

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record.msg, record.args = _one_line(record), None
        record.exc_info = record.exc_text = record.stack_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._writer.dropped += 1


class Writer:
    """Writes lines to a file descriptor, on a thread of its own."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord]", descriptor: int, formatter: logging.Formatter) -> None:
        self._lines = lines
        self._descriptor = descriptor
        self._format = formatter.format
        # By line: when it may be written again, how often it was held back, and the latest record of it.
        self._repeated: dict[tuple[str, int, str], tuple[float, int, logging.LogRecord]] = {}
        self.dropped = 0

    def write_forever(self) -> None:
        while True:
            try:
                record = self._lines.get(timeout=1.0)
            except queue.Empty:
                pass
            else:
                self._handle(record)
                self._lines.task_done()
            self._tell_repeated(time.monotonic())

    def flush(self) -> None:
        """Waits a moment until all is written; not longer, as nobody may ever read it."""
        until = time.monotonic() + FLUSH_SECONDS
        while self._lines.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)
        if not self._lines.unfinished_tasks:
            self._tell_repeated(float("inf"))

    def _handle(self, record: logging.LogRecord) -> None:
        if self.dropped:
            lost, self.dropped = self.dropped, 0
            told = logging.LogRecord(__name__, logging.WARNING, "", 0, "log lines dropped count=%d", (lost,), None)
            self._write(self._format(told))
        key = record.name, record.levelno, record.getMessage()
        if key in self._repeated:
            again_at, count, _ = self._repeated[key]
            self._repeated[key] = again_at, count + 1, record
            return
        if record.levelno >= logging.WARNING:
            self._repeated[key] = time.monotonic() + REPEAT_SECONDS, 0, record
        self._write(record.getMessage() if hasattr(record, "is_plain") else self._format(record))

    def _tell_repeated(self, now: float) -> None:
        for key, (again_at, count, record) in list(self._repeated.items()):
            if again_at > now:
                return
            del self._repeated[key]
            if count:
                record.msg = f"{record.msg} repeated={count}"
                self._write(self._format(record))

    def _write(self, line: str) -> None:
        rest = f"{line}\n".encode("utf-8", "backslashreplace")
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def describe(error: BaseException) -> str:
    """Where an error of ours arose: class and frames, without its message, which may hold what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    way = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__module__}.{type(error).__qualname__} at {way}"


def _one_line(record: logging.LogRecord) -> str:
    """Without a traceback: those of a driver whose connection was cut say no more than its first line."""
    message = " ".join(record.getMessage().split("\n"))
    error = record.exc_info[1] if record.exc_info else None
    return f"{message} error={type(error).__module__}.{type(error).__qualname__}" if error else message


def _is_not_the_applications(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(("Exception in ASGI application", "ASGI callable returned without"))
