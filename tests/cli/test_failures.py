"""Commands that must fail: one sentence, exit code 1 (2 for wrong usage), never a traceback."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.programs import environment, program, queuestats, sentence
from tests.conftest import TestDatabase

NOWHERE = "postgresql://somebody:hunter2@127.0.0.1:1/nothing"
OWNERS = [
    ("migrate",),
    ("migrate", "--check"),
    ("seed", "--messages", "10"),
    ("token", "create", "x"),
    ("token", "list"),
    ("token", "revoke", "x"),
]
QUESTIONS = [("stats", "--sender", "1"), ("explain", "--sender", "1")]
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")


def run_in_shell(line: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A line with `queuestats` in it; its exit code is that command's, whatever it is piped into."""
    words = " ".join(program())
    script = f'set -o pipefail; queuestats() {{ {words} "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", script], cwd="/", env=environment(**settings), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", [*OWNERS, *QUESTIONS], ids=" ".join)
def test_a_database_out_of_reach_is_one_sentence_without_its_password(command: tuple[str, ...]) -> None:
    said = sentence(queuestats(*command, QUEUESTATS_DATABASE_URL=NOWHERE))
    assert "Connect call failed ('127.0.0.1', 1)" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("command", [OWNERS[0], OWNERS[4], *QUESTIONS], ids=" ".join)
def test_a_role_that_does_not_exist_is_one_sentence(database: TestDatabase, command: tuple[str, ...]) -> None:
    stranger = database.service_url.replace("queuestats_service", "stranger")
    assert "stranger" in sentence(queuestats(*command, QUEUESTATS_DATABASE_URL=stranger))


def test_psql_tells_itself_that_a_database_is_out_of_reach() -> None:
    refused = queuestats("psql", "-c", "SELECT 1", QUEUESTATS_DATABASE_URL=NOWHERE)
    assert refused.returncode == 2
    assert "hunter2" not in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("command", [("demo", "--port", "0"), ("serve", "--port", "0"), *OWNERS[:1], *QUESTIONS[:1]])
def test_a_data_folder_that_can_be_none_is_one_sentence(folder: Path, command: tuple[str, ...]) -> None:
    (folder / "file").write_text("")
    ended = queuestats(*command, QUEUESTATS_DATA_DIR=str(folder / "file" / "data"))
    assert ended.returncode == 1
    assert f"Error: {folder / 'file'} is not a folder" in ended.stderr
    assert "Traceback" not in ended.stderr


@only_root
def test_a_data_folder_that_the_servers_user_cannot_reach_is_one_sentence(folder: Path) -> None:
    (folder / "private").mkdir(mode=0o700)
    said = sentence(queuestats("demo", "--port", "0", QUEUESTATS_DATA_DIR=str(folder / "private" / "data")))
    assert "QUEUESTATS_DATA_DIR" in said
    assert list((folder / "private").iterdir()) == []


@only_root
@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_leaves_no_server(folder: Path) -> None:
    """80 MB hold an empty cluster, not a queue of a million messages."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m,mode=755", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        ended = queuestats("demo", "--port", "0", "--messages", "1000000", QUEUESTATS_DATA_DIR=str(disk / "data"))
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        assert ended.stderr.splitlines()[-1].startswith("Error: ")
        assert not (disk / "data" / "postgres-18" / "postmaster.pid").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_reader_that_has_seen_enough_is_no_fault(database: TestDatabase) -> None:
    for line in ("queuestats explain --sender 1 | head -1", "queuestats stats --sender 1 --group isp | true"):
        ended = run_in_shell(line, QUEUESTATS_DATABASE_URL=database.service_url)
        assert ended.returncode in (0, 1)
        assert ended.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("command", ["stats --sender 1", "stats --sender 1 --json", "explain --sender 1", "--help"])
def test_output_that_cannot_be_written_is_one_sentence(database: TestDatabase, command: str) -> None:
    ended = run_in_shell(f"queuestats {command} > /dev/full", QUEUESTATS_DATABASE_URL=database.service_url)
    assert "No space left on device" in sentence(ended)


def test_closed_output_is_no_fault(database: TestDatabase) -> None:
    for line in ("stats --sender 1", "stats --sender 1 --json", "token list"):
        ended = run_in_shell(f"queuestats {line} >&- 2>&-", QUEUESTATS_DATABASE_URL=database.owner_url)
        assert ended.returncode == 0


WRONG_USAGE = [
    ("nonsense",),
    ("stats", "--nonsense"),
    ("token",),
    ("token", "create"),
    ("bench", "sql", "--json", "/no/such/folder/sql.json"),
    (),
]


@pytest.mark.parametrize("command", WRONG_USAGE, ids=" ".join)
def test_wrong_usage_is_exit_code_2(command: tuple[str, ...]) -> None:
    ended = queuestats(*command)
    assert ended.returncode == 2
    assert "Usage: queuestats" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("address", ["postgresql://u:hunter2@host:port/db", "postgresql://u:hunter2@[host/db"])
@pytest.mark.parametrize("command", [("serve", "--port", "0"), *OWNERS[:1], *QUESTIONS[:1]], ids=" ".join)
def test_a_malformed_address_is_one_sentence_without_its_password(command: tuple[str, ...], address: str) -> None:
    assert "hunter2" not in sentence(queuestats(*command, QUEUESTATS_DATABASE_URL=address))
