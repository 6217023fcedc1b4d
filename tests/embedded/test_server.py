"""The embedded PostgreSQL: its connections, its start and stop, and restarts after a kill."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from service.embedded.accounts import server_account
from tests.embedded.using import StartUser, ask_as_the_service_does, is_running, quick, server_process, sql


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


def test_no_port_is_open_and_only_the_owner_reaches_the_socket(data_dir: Path) -> None:
    with quick(data_dir) as server:
        assert sql(server, "SHOW listen_addresses") == ""
        folder = Path(sql(server, "SHOW unix_socket_directories", server.superuser_url))
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.stat().st_uid == server_account().uid


def test_only_peer_authentication_is_configured(data_dir: Path) -> None:
    with quick(data_dir) as server:
        ways = sql(server, "SELECT type, auth_method FROM pg_hba_file_rules", server.superuser_url)
    assert ways == "local|peer"


def test_two_servers_can_run_at_the_same_time(data_dir: Path) -> None:
    with quick(data_dir / "one") as one, quick(data_dir / "two") as two, quick(data_dir / "one", 16) as older:
        for number, server in enumerate((one, two, older)):
            sql(server, f"CREATE TABLE mine AS SELECT {number} AS number")
        assert [sql(server, "TABLE mine") for server in (one, two, older)] == ["0", "1", "2"]


def test_a_restart_keeps_the_data(data_dir: Path) -> None:
    with quick(data_dir) as server:
        sql(server, "CREATE TABLE kept AS SELECT 119 AS sender_id")
    assert not is_running(data_dir)
    with quick(data_dir) as server:
        assert sql(server, "TABLE kept") == "119"


def test_the_last_user_stops_the_server(data_dir: Path, start_user: StartUser) -> None:
    with quick(data_dir) as server:
        other = start_user(data_dir)
        assert other.stdout is not None
        assert other.stdout.readline().strip() == server.owner_url
    assert is_running(data_dir)
    other.communicate(timeout=120)
    assert not is_running(data_dir)


def test_many_concurrent_first_starts_create_one_server(data_dir: Path, start_user: StartUser) -> None:
    users = [start_user(data_dir) for _ in range(4)]
    addresses = {user.stdout.readline() for user in users if user.stdout}
    assert len(addresses) == 1
    assert addresses != {""}
    for user in users:
        user.communicate(timeout=120)
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


def test_ctrl_c_does_not_reach_the_server(data_dir: Path) -> None:
    with quick(data_dir):
        assert os.getsid(server_process(data_dir)) != os.getsid(0)


def test_a_killed_server_is_started_again(data_dir: Path) -> None:
    with quick(data_dir) as server:
        sql(server, "CREATE TABLE kept AS SELECT 119 AS sender_id")
        os.kill(server_process(data_dir), signal.SIGKILL)
    with quick(data_dir) as server:
        assert sql(server, "TABLE kept") == "119"


def test_a_process_id_that_another_process_has_now_is_ignored(data_dir: Path) -> None:
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


def test_the_next_start_repairs_one_that_was_killed(data_dir: Path) -> None:
    with quick(data_dir) as server:
        sql(server, "DROP DATABASE queuestats", server.superuser_url.replace("/queuestats?", "/postgres?"))
    leftover = data_dir / "postgres-18.new-abc"
    (data_dir / "postgres-18").rename(leftover)
    with quick(data_dir) as server:
        assert sql(server, "SELECT current_database()") == "queuestats"
    assert not leftover.exists()


def test_a_missing_database_or_role_is_created_at_the_next_start(data_dir: Path) -> None:
    with quick(data_dir) as server:
        elsewhere = server.superuser_url.replace("/queuestats?", "/postgres?")
        sql(server, "DROP DATABASE queuestats", elsewhere)
        sql(server, "DROP ROLE queuestats", elsewhere)
    with quick(data_dir) as server:
        assert sql(server, "SELECT current_user || ' ' || current_database()") == "queuestats queuestats"
