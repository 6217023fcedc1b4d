"""A demo ends on a signal in every phase, and leaves no process running."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent
from urllib.parse import urlsplit

import pytest

from tests.cli.programs import STATS, Program, is_stopped, running

pytestmark = pytest.mark.slow

# Code in which Python ignores exceptions.
DESTRUCTOR = """
class Place:
    def __del__(self):
        interrupt()
Place()
"""
WEAK_REFERENCE = """
import weakref
class Place:
    pass
place = Place()
weakref.finalize(place, interrupt)
del place
"""
IMPORT = """
import sys
class Finder:
    def find_spec(self, name, path, target=None):
        class Place:
            def __del__(self):
                interrupt()
        Place()
sys.meta_path.insert(0, Finder())
try:
    import nowhere
except ImportError:
    pass
"""
DROPPED = """
import os, signal, time
from service.cli.interrupts import hold_off_signals, unwind_on_signals
def interrupt():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0)
unwind_on_signals()
try:
    {place}
    time.sleep(30)
except KeyboardInterrupt:
    hold_off_signals()
    print("unwound")
"""

# The output at the beginning of each phase.
STARTING, MIGRATING, SEEDING, SERVING = "Starting PostgreSQL", "Migrating", "Seeding: ", "XML:"


def assert_it_ends(started: Program, number: signal.Signals, data_dir: Path) -> None:
    assert started.stop(number) == 0
    # The log may repeat a warning at the end.
    assert "Stopped.\n" in started.errors
    assert "Traceback" not in started.errors
    assert started.left_behind() == []
    assert is_stopped(data_dir)


def assert_output(program: str, expected: str) -> None:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert (ended.stdout, ended.stderr) == (expected, "")


@contextmanager
def demo(folder: Path, messages: int = 1000, **settings: str) -> Iterator[Program]:
    arguments = ("demo", "--port", "0", "--data-dir", str(folder / "data"), "--messages", str(messages))
    with running(folder, *arguments, **settings) as started:
        yield started


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        (STARTING, signal.SIGTERM),
        (MIGRATING, signal.SIGINT),
        (SEEDING, signal.SIGTERM),
        (SEEDING, signal.SIGINT),
        (SERVING, signal.SIGTERM),
        (SERVING, signal.SIGINT),
        (SERVING, signal.SIGHUP),
    ],
)
def test_it_ends_in_every_phase(folder: Path, phase: str, number: signal.Signals) -> None:
    with demo(folder, messages=300_000 if phase == SEEDING else 1000) as started:
        started.wait_for(phase)
        assert_it_ends(started, number, folder / "data")


def test_it_ends_while_a_request_is_open(folder: Path) -> None:
    with demo(folder) as started:
        address = urlsplit(started.url)
        with socket.create_connection((str(address.hostname), address.port or 0)) as client:
            client.sendall(f"POST {STATS} HTTP/1.1\r\nHost: queue\r\nContent-Length: 100\r\n\r\n{{".encode())
            started.wait_until_ready()
            assert_it_ends(started, signal.SIGTERM, folder / "data")


def test_an_impatient_second_ctrl_c_does_not_leave_the_database_running(folder: Path) -> None:
    with demo(folder) as started:
        started.wait_for(SERVING)
        for _ in range(20):
            started.process.send_signal(signal.SIGINT)
        assert_it_ends(started, signal.SIGINT, folder / "data")


def test_several_workers_end_with_it(folder: Path) -> None:
    with demo(folder, QUEUESTATS_WORKERS="2") as started:
        started.wait_until_ready()
        assert_it_ends(started, signal.SIGTERM, folder / "data")


@pytest.mark.parametrize("place", [DESTRUCTOR, WEAK_REFERENCE, IMPORT])
def test_a_signal_in_code_that_ignores_exceptions_is_not_lost(place: str) -> None:
    assert_output(DROPPED.format(place=indent(place, "    ").strip()), "unwound\n")


IN_C = """
import os, pwd, signal, threading
from service.cli.interrupts import hold_off_signals, unwind_on_signals
unwind_on_signals()
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    while True:
        try:
            pwd.getpwuid(65521)
        except KeyError:
            pass
except KeyboardInterrupt:
    hold_off_signals()
    print("unwound")
"""


def test_a_signal_that_c_code_replaces_by_its_own_error_is_not_lost() -> None:
    assert_output(IN_C, "unwound\n")


CLEANUP = """
import os, signal, time
from service.cli.interrupts import hold_off_signals, unwind_on_signals
unwind_on_signals()
try:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    finally:
        try:
            raise OSError
        except OSError:
            time.sleep(0.2)
        time.sleep(0.2)
        print("cleaned up")
except KeyboardInterrupt:
    hold_off_signals()
    print("unwound")
"""


def test_a_signal_is_not_repeated_while_the_command_unwinds() -> None:
    assert_output(CLEANUP, "cleaned up\nunwound\n")


DURING_WORK = """
import asyncio, os, signal
from service.cli.interrupts import hold_off_signals, run
async def work():
    os.kill(os.getpid(), signal.SIGTERM)
    {rest}
try:
    run(work(), has_more=True)
except KeyboardInterrupt:
    hold_off_signals()
    print("unwound")
"""
CAUGHT = """
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        pass
"""


@pytest.mark.parametrize(
    "rest", ["await asyncio.sleep(30)", CAUGHT.strip(), "return"], ids=["waits", "catches", "ends"]
)
def test_a_signal_during_asynchronous_work_is_not_lost(rest: str) -> None:
    assert_output(DURING_WORK.format(rest=rest), "unwound\n")


REPEATED = """
import os, signal, time
from service.cli.interrupts import on_signals, unwind_on_signals
class Place:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)
unwind_on_signals()
Place()
handled = []
on_signals(lambda number, frame: handled.append(number))
while not handled:
    time.sleep(0.01)
print("handled")
"""


def test_a_repeated_signal_runs_the_current_handler() -> None:
    """A signal during the import of the server stops the server without interrupting the import."""
    assert_output(REPEATED, "handled\n")
