"""Which PostgreSQL the tests run on: a named one, a container, or one of the installed programs. Never a mock."""

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
# More than a test run has at once.
ROOM_BYTES = 8 << 30
# How long a process that the run left running may take to end.
END_SECONDS = 10
# The signals that end a run: of Ctrl-C, of `timeout` or a CI job, and of the end of a session.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class ChosenServer:
    """`url` has a role that may create databases and roles. `words` describe the server."""

    url: str
    words: str


@contextmanager
def choose_server(environ: Mapping[str, str], docker: Callable[[], Any]) -> Iterator[ChosenServer]:
    """The first available one of these: the server of QUEUESTATS_TEST_DATABASE_URL; a new server with the programs of
    QUEUESTATS_TEST_BINARIES, which is a folder or a version of the wheel; a container, if an engine responds and has
    or gets the image; a new server with the newest programs of the wheel."""
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
    except Exception as error:  # noqa: BLE001 without an engine, image or network, another server is used
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    with warnings.catch_warnings():
        # A client that found no engine leaves its socket open. Without this line, the next test would get the warning.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return ChosenServer(stack.enter_context(_cluster()), f"the embedded one (no container: {reason})")


def docker_container() -> Any:
    """A container of the official image. Raises the error of testcontainers if there is none."""
    from testcontainers.community.postgres import PostgresContainer

    return PostgresContainer(IMAGE, username="postgres", dbname="postgres")


def use_memory(folder: Path = Path("/dev/shm")) -> None:
    """Puts the temporary files of this process and its children into memory, if it has room and may contain programs.

    The database of a test has hundreds of small files. Some disks need half a second to create them.
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

    At the end, processes that use it are ended and it is removed; also after Ctrl-C, when pytest-xdist kills its
    workers. SIGTERM and SIGHUP interrupt as Ctrl-C does, unless they are ignored (nohup).
    """
    handlers = {number: signal.getsignal(number) for number in ENDINGS}
    for number, handler in handlers.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    use_memory()
    # Not inside: multiprocessing removes its own folder at the exit, after this one.
    multiprocessing.util.get_temp_dir()
    former, folder = tempfile.gettempdir(), Path(tempfile.mkdtemp(prefix="queuestats-"))
    folder.chmod(0o755)  # the server's user needs access
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)  # a second signal must not stop the removal
        end_processes_of(folder)
        shutil.rmtree(folder, ignore_errors=True)
        os.environ["TMPDIR"] = tempfile.tempdir = former
        for number, handler in handlers.items():
            signal.signal(number, handler)


def end_processes_of(folder: Path) -> None:
    """Ends all processes that have the folder in their arguments or their environment, except our own children.

    A process that ignores SIGTERM gets SIGQUIT, on which PostgreSQL removes its shared memory, and then SIGKILL.
    """
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL):
        deadline = time.monotonic() + END_SECONDS
        for pid in processes_of(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        while processes_of(folder) and time.monotonic() < deadline:
            time.sleep(0.05)


def processes_of(folder: Path) -> list[int]:
    """The process ids, without our own children."""
    # `e` adds the environment. The environment of ps itself must not contain the folder.
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
    """A folder that the server's user can reach. The folders of pytest are private."""
    folder = Path(tempfile.mkdtemp(prefix="queuestats-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path | None]:
    """A file system in memory, mounted below the folder; None if this user can't mount one."""
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
