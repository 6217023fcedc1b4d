"""Which PostgreSQL the tests run on: a named one, else a container, else one of the programs at hand. Never a mock."""

import gc
import multiprocessing.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clusters import Cluster, binaries, running

IMAGE = "postgres:18"
# More than a whole run has at once.
ROOM_BYTES = 8 << 30
# How long a process that is left behind may take to end.
END_SECONDS = 10
# What ends a run: Ctrl-C, `timeout` or a CI's job, the end of a session.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class ChosenServer:
    """`url` is of a role that may create databases and roles; `words` tell a person which server it is."""

    url: str
    words: str


@contextmanager
def choose_server(environ: Mapping[str, str], docker: Callable[[], Any]) -> Iterator[ChosenServer]:
    """The server of QUEUESTATS_TEST_DATABASE_URL; else one from QUEUESTATS_TEST_BINARIES, a folder or a version of the
    wheel; else a container where an engine answers and has or gets the image; else the wheel's newest one."""
    named, wanted = environ.get("QUEUESTATS_TEST_DATABASE_URL"), environ.get("QUEUESTATS_TEST_BINARIES", "")
    with ExitStack() as stack:
        if named:
            yield ChosenServer(named, "the one of QUEUESTATS_TEST_DATABASE_URL")
        elif wanted:
            yield ChosenServer(stack.enter_context(_cluster()), f"the one of QUEUESTATS_TEST_BINARIES={wanted}")
        else:
            yield _container(docker, stack)


def _container(docker: Callable[[], Any], stack: ExitStack) -> ChosenServer:
    try:
        container = stack.enter_context(docker())
        return ChosenServer(container.get_connection_url(driver=None), f"a container of {IMAGE}")
    except Exception as error:  # noqa: BLE001 no engine, no image, no network: each is a reason, none a failure
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    with warnings.catch_warnings():
        # The client that found no engine leaves its socket open; the next test must not be blamed for it.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return ChosenServer(stack.enter_context(_cluster()), f"the embedded one (no container: {reason})")


def docker_container() -> Any:
    """A container of the official image. Raises whatever testcontainers raises where it can't be had."""
    from testcontainers.community.postgres import PostgresContainer

    return PostgresContainer(IMAGE, username="postgres", dbname="postgres")


def use_memory(folder: Path = Path("/dev/shm")) -> None:
    """Temporary files of this process and its children live in memory, where that has room and may hold programs.

    A test's database is hundreds of small files, which some disks take half a second to make.
    """
    if "TMPDIR" in os.environ or not os.access(folder, os.W_OK):
        return
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize >= ROOM_BYTES and not found.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(folder)
        tempfile.tempdir = None


@contextmanager
def run_folder() -> Iterator[Path]:
    """The folder of all temporary files of this process and its children; in memory if that has room.

    At the end no process works in it and it is gone, also after Ctrl-C, when pytest-xdist kills what it started.
    SIGTERM and SIGHUP interrupt as Ctrl-C does, unless they are ignored (nohup).
    """
    handlers = {number: signal.getsignal(number) for number in ENDINGS}
    for number, handler in handlers.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    use_memory()
    # Stays outside: multiprocessing removes its own folder at the exit, after this one.
    multiprocessing.util.get_temp_dir()
    former, folder = tempfile.gettempdir(), Path(tempfile.mkdtemp(prefix="queuestats-"))
    folder.chmod(0o755)  # the server's user passes through
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)  # a second one leaves nothing behind either
        end_processes_of(folder)
        shutil.rmtree(folder, ignore_errors=True)
        os.environ["TMPDIR"] = tempfile.tempdir = former
        for number, handler in handlers.items():
            signal.signal(number, handler)


def end_processes_of(folder: Path) -> None:
    """Ends all processes that have the folder in their arguments or their environment, except our own children.

    A process that ignores SIGTERM gets SIGQUIT, on which PostgreSQL removes its shared memory, and SIGKILL after that.
    """
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL):
        deadline = time.monotonic() + END_SECONDS
        for pid in processes_of(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        while processes_of(folder) and time.monotonic() < deadline:
            time.sleep(0.05)


def processes_of(folder: Path) -> list[int]:
    """The process ids, our own children left out."""
    # `e` adds the environment; that of ps itself must not have the folder.
    command = ["ps", "axeww", "-o", "pid=,ppid=,args="]
    listed = subprocess.run(command, env={"PATH": os.defpath}, capture_output=True, check=True).stdout
    found = (line.split(maxsplit=2) for line in listed.splitlines() if os.fsencode(folder) in line)
    return [int(pid) for pid, parent, _ in found if int(parent) != os.getpid()]


def processes_below(postmaster: int) -> list[int]:
    """The process ids of a server."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True, text=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return [postmaster, *(pid for pid, parent in pairs if parent == postmaster)]


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that the server's user reaches, whoever runs the tests; pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="queuestats-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path | None]:
    """A file system in memory, mounted below the folder; None where this user can't mount one."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=755", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill(path: Path) -> None:
    """Writes to the file until its file system is full."""
    for size in (1 << 20, 4096):
        with suppress(OSError), path.open("ab", buffering=0) as file:
            while file.write(bytes(size)) == size:
                pass


@contextmanager
def _cluster() -> Iterator[str]:
    with scratch_folder() as folder:
        cluster = Cluster(binaries(folder), folder / "data")
        cluster.initialise()
        with running(cluster):
            yield cluster.url
