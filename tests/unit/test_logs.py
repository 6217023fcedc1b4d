"""Log lines: one for each event, counted if they repeat, and never blocking the process."""

import json
import logging
import os
import queue
import subprocess
import sys
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

from service.telemetry.logs import FORMAT, DroppingHandler, Writer

ROOT = Path(__file__).resolve().parents[2]
SETUP = """
import logging
from service.telemetry.logs import configure_logging
configure_logging("info")
log = logging.getLogger("x")
"""


def logged(program: str) -> list[str]:
    """The output of a program that logs as the service does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", SETUP + program], env=environment, stderr=subprocess.PIPE, text=True, check=True
    )
    return ended.stderr.splitlines()


def test_a_line_that_repeats_is_written_once_and_then_counted() -> None:
    first, other, counted = logged("for _ in range(1314): log.warning('database out of reach')\nlog.warning('other')")
    assert first.endswith(" WARNING x database out of reach")
    assert other.endswith(" WARNING x other")
    assert counted.endswith(" WARNING x database out of reach repeated=1313")


def test_lines_below_a_warning_are_all_written() -> None:
    assert len(logged("for _ in range(3): log.info('started')")) == 3


def test_a_traceback_becomes_one_line_without_its_message() -> None:
    program = "try: 1 / 0\nexcept ZeroDivisionError: log.exception('it failed\\nbadly')"
    [line] = logged(program)
    assert line.endswith(" ERROR x it failed badly error=builtins.ZeroDivisionError")


def test_a_full_pipe_that_is_not_read_does_not_block_the_process() -> None:
    program = SETUP + "for number in range(50_000): log.warning('line %d', number)\nprint('went on', flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr:
        assert process.stdout.readline() == "went on\n"
        assert process.wait(60) == 0
        assert 0 < len(process.stderr.read().splitlines()) < 50_000


def test_dropped_lines_are_counted() -> None:
    lines: queue.Queue[logging.LogRecord] = queue.Queue(1)
    reading, writing = os.pipe()
    writer = Writer(lines, writing, logging.Formatter(FORMAT))
    handler = DroppingHandler(lines, writer)
    for number in range(3):
        handler.emit(logging.makeLogRecord({"msg": f"line {number}", "levelno": logging.INFO}))
    writer.handle(lines.get())
    os.close(writing)
    with os.fdopen(reading) as written:
        dropped, line = written.read().splitlines()
    assert dropped.endswith(" log lines dropped count=2")
    assert line.endswith("line 0")


def test_lines_as_json_have_their_fields_and_one_line_each() -> None:
    reading, writing = os.pipe()
    lines: queue.Queue[logging.LogRecord] = queue.Queue()
    writer = Writer(lines, writing, JsonFormatter(FORMAT))
    record = logging.makeLogRecord(
        {"name": "service", "levelno": 10, "levelname": "DEBUG", "msg": "two\nlines", "request_id": "r1"}
    )
    DroppingHandler(lines, writer).handle(record)
    writer.start()
    writer.stop()
    (line,) = os.read(reading, 65_536).decode().splitlines()
    found = json.loads(line)
    assert (found["message"], found["levelname"], found["request_id"]) == ("two lines", "DEBUG", "r1")


def test_no_line_controls_a_terminal() -> None:
    [line] = logged("log.warning('%s', 'role \\x1b[2J \\x9b2J \\u202e')")
    assert line.endswith(r" WARNING x role \x1b[2J \x9b2J \u202e")
