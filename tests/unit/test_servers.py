"""Which PostgreSQL a test run uses, and that the run prints it."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conftest import PATIENCE_SECONDS
from tests.engine import NO_IMAGE, PORT, engine
from tests.servers import ENDINGS, ChosenServer, choose_server, end_processes_of, processes_of

ROOT = Path(__file__).resolve().parents[2]


# A test run up to its choice of a server, with every warning as an error.
CHOOSE = """
import os
from tests.servers import choose_server, docker_container
with choose_server({}, docker_container) as server:
    print(server.words, server.url, sep="\\n")
"""

# A test run up to its folder, with a server that a worker of pytest-xdist has left running.
LEAVE = """
import subprocess, time
from tests.servers import run_folder
with run_folder():
    subprocess.run("sleep 600 & echo $TMPDIR", shell=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def signals_with_an_effect() -> Iterator[None]:
    """Children do not inherit an ignored signal: SIGHUP below nohup, SIGINT in the background of a script."""
    former = {number: signal.signal(number, signal.default_int_handler) for number in ENDINGS}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


def forbidden() -> Any:
    raise AssertionError("a run with a named server used Docker")


def chosen_beside(engine_socket: Path) -> list[str]:
    """The choice that a run prints. The socket is that of the container engine."""
    environ = {**os.environ, "DOCKER_HOST": f"unix://{engine_socket}", "TESTCONTAINERS_RYUK_DISABLED": "true"}
    command = [sys.executable, "-W", "error", "-c", CHOOSE]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_named_server_comes_before_all_others() -> None:
    environ = {"QUEUESTATS_TEST_DATABASE_URL": "postgresql://named/postgres", "QUEUESTATS_TEST_BINARIES": "16"}
    with choose_server(environ, forbidden) as server:
        assert server == ChosenServer("postgresql://named/postgres", "the one of QUEUESTATS_TEST_DATABASE_URL")


def test_the_binaries_of_a_version_are_used_without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUESTATS_TEST_BINARIES", "16")
    with choose_server(os.environ, forbidden) as server:
        assert server.words == "the one of QUEUESTATS_TEST_BINARIES=16"
        assert asyncio.run(version_of(server.url)).startswith("16.")


def test_a_container_is_used_if_an_engine_responds_and_is_removed_at_the_end(tmp_path: Path) -> None:
    with engine(tmp_path / "socket", {}) as asked:
        words, url = chosen_beside(tmp_path / "socket")
    assert words == "a container of postgres:18"
    assert re.fullmatch(rf"postgresql://postgres:test@(localhost|127.0.0.1):({PORT}|5432)/postgres", url)
    assert [each for each in asked if "c0ffee" in each][-1] == "DELETE /containers/c0ffee"


def test_an_engine_without_the_image_causes_one_line_and_no_failure(tmp_path: Path) -> None:
    without = dict.fromkeys(
        ("GET /images/postgres:18/json", "POST /images/create", "POST /containers/create"), NO_IMAGE
    )
    with engine(tmp_path / "socket", without) as asked:
        words, _ = chosen_beside(tmp_path / "socket")
    assert words.startswith("the embedded one (no container: ")
    assert "No such image: postgres:18" in words
    assert "POST /containers/create" in asked or "POST /images/create" in asked


def test_the_embedded_server_is_used_without_an_engine(tmp_path: Path) -> None:
    words, url = chosen_beside(tmp_path / "none")
    assert words.startswith("the embedded one (no container: ")
    assert url.startswith("postgresql://postgres@/postgres?host=")


def test_a_run_prints_its_server_and_the_version(server_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/unit/test_servers.py", "-k", "a_named_server"],
        cwd=ROOT,
        env={**os.environ, "QUEUESTATS_TEST_DATABASE_URL": server_url},
        capture_output=True,
        text=True,
        check=True,
    )
    version = asyncio.run(version_of(server_url))
    assert f"PostgreSQL {version}: the one of QUEUESTATS_TEST_DATABASE_URL" in done.stdout.splitlines()


@pytest.mark.slow
def test_a_run_that_ctrl_c_ends_leaves_no_process_and_no_folder() -> None:
    """pytest-xdist kills workers whose test still runs, so no fixture ends the processes of the test."""
    command = [sys.executable, "-m", "pytest", "-n", "1", "tests/cli/test_demo.py", "-k", "curl_lines"]
    # Not in the folder of this run, because the length of a socket's path is limited.
    with tempfile.TemporaryDirectory(prefix="queuestats-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        environ = {**os.environ, "TMPDIR": name}
        run = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not list(folder.glob("queuestats-*/queuestats-test-*/data/postgres-18/postmaster.pid")):
                assert run.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            for worker in subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, check=True).stdout.split():
                os.kill(int(worker), signal.SIGSTOP)
            run.send_signal(signal.SIGINT)
            assert run.wait(PATIENCE_SECONDS) == pytest.ExitCode.INTERRUPTED
            assert list(folder.iterdir()) == []
            assert processes_of(folder) == []
        finally:
            run.kill()
            run.wait()
            end_processes_of(folder)


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_signal_that_ends_a_run_leaves_no_process_and_no_folder(ending: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEAVE], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        assert run.stdout is not None
        folder = Path(run.stdout.readline().strip())
        try:
            assert processes_of(folder)
            run.send_signal(ending)
            run.wait(PATIENCE_SECONDS)
            assert not folder.exists()
            assert processes_of(folder) == []
        finally:
            run.kill()
            end_processes_of(folder)


async def version_of(url: str) -> str:
    connection = await asyncpg.connect(url)
    version: str = await connection.fetchval("SHOW server_version")
    await connection.close()
    return version
