"""`queuestats serve`: its processes, its signals, and outages of its database."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from service.embedded import EmbeddedServer
from tests.cli.programs import (
    PATIENCE_SECONDS,
    ROOT,
    STATS,
    Program,
    ask,
    environment,
    program,
    queuestats,
    queuestats_in,
    running,
    sentence,
)
from tests.clusters import FORGETFUL
from tests.conftest import TestDatabase

SERVE = ("serve", "--port", "0")
INSERT = "INSERT INTO messages (sender_id, isp, recipient) VALUES (119, 'Gmail', 'someone@example.com')"

pytestmark = pytest.mark.slow


@pytest.fixture
def token(database: TestDatabase) -> str:
    return create_token(QUEUESTATS_DATABASE_URL=database.owner_url)


@pytest.fixture
def serve(folder: Path, database: TestDatabase) -> Iterator[Callable[..., Program]]:
    """Starts the program on the database of this test, with the role of the service. It is stopped at the end."""
    with ExitStack() as stack:
        yield lambda *arguments, **settings: stack.enter_context(
            running(folder, *SERVE, *arguments, QUEUESTATS_DATABASE_URL=database.service_url, **settings)
        )


def create_token(**settings: str) -> str:
    made = queuestats("token", "create", "test", "--json", **settings)
    assert made.returncode == 0, made.stderr
    secret: str = msgspec.json.decode(made.stdout)["token"]
    return secret


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(process_id: int) -> list[int]:
    """The processes that serve: the children that listen, without the resource tracker of multiprocessing."""
    found = []
    for each in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split():
        with suppress(OSError):  # the process has ended
            if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes():
                found.append(int(each))
    return found


def test_it_serves_with_the_role_of_the_service_and_ends_at_sigterm(serve: Callable[..., Program], token: str) -> None:
    started = serve()
    answer = ask(started.url, token, group="total")
    assert answer.status_code == 200
    assert answer.json()["data"][0]["total"] == 0
    assert httpx.get(f"{started.url}/readyz").status_code == 200
    assert started.stop() == 0
    assert started.left_behind() == []
    assert token not in started.output + started.errors


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the test finds worker processes by /proc")
def test_several_workers_serve_a_killed_one_is_replaced_and_all_end(serve: Callable[..., Program], token: str) -> None:
    # On a busy machine, a worker takes longer to end.
    started = serve("--workers", "2", QUEUESTATS_SHUTDOWN_TIMEOUT_MS="60000")
    started.wait_for("(?s)startup complete.*startup complete")
    before = children(started.process.pid)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(set(children(started.process.pid)) - {before[0]}) == 2)
    started.wait_for("(?s)startup complete.*startup complete.*startup complete")
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: ask(started.url, token).status_code, range(40)))
    assert answers == [200] * 40
    assert started.stop() == 0
    assert started.left_behind() == []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the test finds worker processes by /proc")
def test_workers_do_not_outlive_a_killed_supervisor(serve: Callable[..., Program], token: str) -> None:
    started = serve("--workers", "2")
    started.wait_for("(?s)startup complete.*startup complete")
    started.process.kill()
    started.process.wait()
    assert started.left_behind() == []
    address = urlsplit(started.url)
    with socket.create_server((str(address.hostname), address.port or 0)):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_open_request_gets_its_response_before_the_end(
    serve: Callable[..., Program], token: str, number: signal.Signals
) -> None:
    started = serve()
    body = msgspec.json.encode({"token": token, "id": 119})
    address = urlsplit(started.url)
    with socket.create_connection((str(address.hostname), address.port or 0)) as client:
        head = f"POST {STATS} HTTP/1.1\r\nHost: queue\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        started.process.send_signal(number)
        started.wait_for("Shutting down")
        client.sendall(body)
        assert client.recv(10_000).startswith(b"HTTP/1.1 200")
    assert started.process.wait(timeout=PATIENCE_SECONDS) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stream_is_completed_and_not_cut_off(
    serve: Callable[..., Program], token: str, number: signal.Signals
) -> None:
    started = serve()
    address = urlsplit(started.url)
    with socket.create_connection((str(address.hostname), address.port or 0)) as client:
        path = STATS.replace("stats/", "stream/?id=119")
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: queue\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        received = b""
        while b"event: report" not in received:
            received += client.recv(10_000)
        started.process.send_signal(number)
        while more := client.recv(10_000):
            received += more
    assert received.endswith(b"0\r\n\r\n")
    assert started.process.wait(timeout=PATIENCE_SECONDS) == 0
    assert "Cancel" not in started.output


class Asking:
    """Keep-alive clients that send requests until the service refuses their connections, or until they are stopped."""

    def __init__(self, url: str, token: str) -> None:
        address = urlsplit(url)
        self._address = (str(address.hostname), address.port or 0)
        self._body = msgspec.json.encode({"token": token, "id": 119})
        self.answers: Counter[int] = Counter()
        self.lost: list[str] = []
        self._answered: Counter[http.client.HTTPConnection] = Counter()
        self.is_over = threading.Event()
        # When the last process closes the socket, the kernel resets connections that no process has accepted. Their
        # requests have reached no process.
        self.is_ending = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        self.is_over.set()

    def ask(self, _: int) -> None:
        while not self.is_over.is_set():
            connection = http.client.HTTPConnection(*self._address, timeout=60)
            try:
                connection.connect()
            except ConnectionRefusedError:
                continue
            try:
                self._ask_on(connection)
            except (OSError, http.client.HTTPException) as error:
                was_never_accepted = isinstance(error, ConnectionResetError) and not self._answered.pop(connection, 0)
                if not (self.is_ending and was_never_accepted):
                    self.lost.append(repr(error))
            finally:
                connection.close()

    def _ask_on(self, connection: http.client.HTTPConnection) -> None:
        while connection.sock is not None and not self.is_over.is_set():
            connection.request("POST", STATS, self._body)
            answer = connection.getresponse()
            answer.read()
            self.answers[answer.status] += 1
            self._answered[connection] += 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the test finds worker processes by /proc")
def test_a_rolling_restart_and_the_end_lose_no_request(serve: Callable[..., Program], token: str) -> None:
    # On a busy machine, a worker takes longer to end.
    started = serve("--workers", "2", QUEUESTATS_SHUTDOWN_TIMEOUT_MS="60000")
    started.wait_for("(?s)startup complete.*startup complete")
    before = set(children(started.process.pid))
    asking = Asking(started.url, token)
    with ThreadPoolExecutor(8) as clients, asking:
        for number in range(8):
            clients.submit(asking.ask, number)
        until(lambda: asking.answers[200] > 100)
        started.process.send_signal(signal.SIGHUP)
        until(lambda: not before & set(children(started.process.pid)))
        asked = asking.answers[200]
        until(lambda: asking.answers[200] > asked + 100)
        asking.is_ending = True
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(timeout=PATIENCE_SECONDS) == 0
    assert asking.lost == []
    assert set(asking.answers) == {200}


def test_an_outage_of_the_database_is_503_quickly_and_requests_succeed_after_it(folder: Path) -> None:
    settings = {"QUEUESTATS_DATA_DIR": str(folder / "data")}
    queuestats("migrate", **settings)
    token = create_token(**settings)
    server = EmbeddedServer(folder / "data", options=FORGETFUL)
    with running(folder, *SERVE, QUEUESTATS_DATABASE_URL=server.service_url) as started:
        started.wait_until_ready()
        for _ in range(2):
            assert ask(started.url, token).status_code == 503
            # The result of a probe is cached for a second.
            until(lambda: httpx.get(f"{started.url}/readyz").status_code == 503)
            assert httpx.get(f"{started.url}/healthz").status_code == 200
            with server:
                until(lambda: httpx.get(f"{started.url}/readyz").status_code == 200)
                until(lambda: ask(started.url, token).status_code == 200)


def test_without_an_address_it_starts_its_own_database_and_stops_it_at_the_end(folder: Path) -> None:
    settings = {"QUEUESTATS_DATA_DIR": str(folder / "data")}
    queuestats("migrate", **settings)
    with running(folder, *SERVE, **settings) as started:
        token = create_token(**settings)
        assert queuestats("psql", "-c", INSERT, **settings).returncode == 0
        assert ask(started.url, token, group="total").json()["data"][0]["new"] == 1
        assert started.stop(signal.SIGINT) == 0
    assert not (folder / "data" / "postgres-18" / "postmaster.pid").exists()


def test_on_an_empty_database_it_prints_the_next_commands(folder: Path, empty_database: TestDatabase) -> None:
    with running(folder, *SERVE, QUEUESTATS_DATABASE_URL=empty_database.owner_url) as program:
        assert program.url
        said = program.errors
    assert "This database is empty." in said
    commands = [line.split()[1] for line in said.splitlines() if line.startswith("  queuestats ")]
    assert commands == ["migrate", "token", "stats"]


def test_an_invalid_statement_stops_the_start_and_the_error_names_it(folder: Path) -> None:
    for name in ("service", "sql"):
        shutil.copytree(ROOT / name, folder / name)
    with (folder / "sql" / "queries" / "from_counters" / "total.sql").open("a") as file:
        file.write("AND campaign_id = :campaign\n")
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    # Not forked, because it must import the module in the folder.
    command = [*program(), "serve", "--port", "0"]
    given = environment(QUEUESTATS_DATABASE_URL=url)
    refused = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False)
    assert sentence(refused) == "sql/queries/from_counters/total.sql declares and uses different parameters: campaign"


def test_a_start_that_fails_is_an_error_with_one_worker_and_with_several(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        url = "postgresql://nobody@127.0.0.1:1/nothing"
        for workers in ("1", "2"):
            refused = queuestats("serve", "--port", port, "--workers", workers, QUEUESTATS_DATABASE_URL=url)
            assert f"Can't listen on 127.0.0.1 port {port}" in sentence(refused)


def test_an_unknown_setting_stops_the_start_and_the_error_names_it() -> None:
    assert "QUEUESTATS_WOKRERS is not a setting" in sentence(queuestats("serve", QUEUESTATS_WOKRERS="2"))


def test_the_error_for_a_wrong_value_has_its_name_and_not_the_value() -> None:
    said = sentence(queuestats("serve", QUEUESTATS_DATABASE_URL="hunter2"))
    assert said.startswith("QUEUESTATS_DATABASE_URL must be")
    assert "hunter2" not in said


def test_only_the_owners_address_is_not_enough_to_serve() -> None:
    refused = queuestats("serve", "--port", "0", QUEUESTATS_ADMIN_DATABASE_URL="postgresql://owner@127.0.0.1/db")
    assert "QUEUESTATS_DATABASE_URL must be set" in sentence(refused)


def test_the_current_settings_are_shown_with_masked_secrets_and_options_have_priority(folder: Path) -> None:
    (folder / ".env").write_text(
        "QUEUESTATS_DATABASE_URL=postgresql://service:hunter2@db/mail\nQUEUESTATS_PORT=1111\nQUEUESTATS_WORKERS=3\n"
    )
    both = {"QUEUESTATS_PORT": "2222", "QUEUESTATS_WORKERS": "4"}
    shown = queuestats_in(folder, "serve", "--dump-config", "--workers", "5", **both)
    lines = shown.stdout.splitlines()
    assert "QUEUESTATS_DATABASE_URL=postgresql://service:***@db/mail" in lines
    assert {"QUEUESTATS_PORT=2222", "QUEUESTATS_WORKERS=5", "QUEUESTATS_HOST=127.0.0.1"} <= set(lines)
    assert "hunter2" not in shown.stdout + shown.stderr
