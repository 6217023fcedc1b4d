"""The commands `hold`, `release`, `purge`, `holds`, `jobs` and `audit`."""

import asyncio
import os
import pwd
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import asyncpg
import msgspec
import pytest

from tests.cli.programs import Run, program, queuestats, run_on_terminal
from tests.conftest import TestDatabase
from tests.oracle import Message, insert


@pytest.fixture
def urls(database: TestDatabase) -> dict[str, str]:
    """The program, on a database with three messages of sender 119."""

    async def fill() -> None:
        connection = await asyncpg.connect(database.owner_url)
        await insert(connection, [Message(isp="Gmail"), Message(isp="Yahoo", status="retry"), Message(status="proc")])
        await connection.close()

    asyncio.run(fill())
    return {
        "QUEUESTATS_DATABASE_URL": database.service_url,
        "QUEUESTATS_ADMIN_DATABASE_URL": database.owner_url,
    }


@pytest.fixture
def run(urls: dict[str, str]) -> Run:
    return partial(queuestats, **urls)


def rows(ended: CompletedProcess[str]) -> list[dict[str, Any]]:
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = msgspec.json.decode(ended.stdout)
    return found


def user() -> str:
    return f"{os.getuid()} ({pwd.getpwuid(os.getuid()).pw_name})"


def test_hold_and_release_print_their_results(run: Run) -> None:
    held = run("hold", "--sender", "119", "--isp", "Gmail", "--reason", "blocked", "--expires-in", "2h")
    assert held.stdout == "1 messages held. Hold 1 is active.\n", held.stderr
    (hold,) = rows(run("holds", "--json"))
    assert (hold["isp"], hold["reason"], hold["messages"]) == ("Gmail", "blocked", 1)
    assert hold["expires_at"] > hold["created_at"]
    assert run("release", "--sender", "119").stdout == "1 messages released.\n"
    assert rows(run("holds", "--json")) == []
    entries = rows(run("audit", "--sender", "119", "--json"))
    assert [each["action"] for each in entries if each["action"] != "finish"] == ["release", "hold"]
    assert {(each["actor_kind"], each["actor_name"]) for each in entries} == {("command", user())}
    assert {each["state"] for each in rows(run("jobs", "--json"))} <= {"settling", "done"}


def test_a_dry_run_counts_and_changes_nothing(run: Run) -> None:
    assert "3" in run("purge", "--sender", "119", "--dry-run").stdout
    (counts,) = rows(run("purge", "--sender", "119", "--dry-run", "--json"))
    assert counts["total"] == 3
    assert rows(run("jobs", "--json")) == []


def test_a_whole_queue_is_removed_only_after_confirmation(run: Run, urls: dict[str, str], tmp_path: Path) -> None:
    refused = run("purge", "--sender", "119")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    command = [*program(), "purge", "--sender", "119"]
    seen, exit_code = run_on_terminal(command, tmp_path, until=b"[y/N]", keys=b"n\n", **urls)
    assert exit_code == 1, seen
    assert run("purge", "--sender", "119", "--isp", "Gmail").stdout == "1 messages removed.\n"
    assert run("purge", "--sender", "119", "--yes").stdout == "2 messages removed.\n"


def test_a_purge_removes_no_more_than_was_confirmed(
    run: Run, urls: dict[str, str], tmp_path: Path, database: TestDatabase
) -> None:
    async def insert_one() -> None:
        connection = await asyncpg.connect(database.owner_url)
        await insert(connection, [Message()])
        await connection.close()

    def confirm_late() -> bytes:
        asyncio.run(insert_one())
        return b"y\n"

    command = [*program(), "purge", "--sender", "119"]
    seen, exit_code = run_on_terminal(command, tmp_path, until=b"[y/N]", keys=confirm_late, **urls)
    assert exit_code == 1, seen
    assert "Remove 3 messages of sender 119?" in seen
    assert "Conflict: 4 messages match, more than at_most 3" in seen
    seen, exit_code = run_on_terminal(command, tmp_path, until=b"[y/N]", keys=b"y\n", **urls)
    assert exit_code == 0, seen
    assert "4 messages removed." in seen


@pytest.mark.parametrize(("command", "matching"), [("hold", 2), ("purge", 3)])
def test_more_messages_than_at_most_are_not_changed(run: Run, command: str, matching: int) -> None:
    asked = (command, "--sender", "119", *(["--yes"] if command == "purge" else []))
    refused = run(*asked, "--at-most", str(matching - 1))
    assert refused.returncode == 1
    assert f"Conflict: {matching} messages match, more than at_most {matching - 1}" in refused.stderr
    assert rows(run("jobs", "--json")) == []
    assert run(*asked, "--at-most", str(matching)).stdout.startswith(f"{matching} messages ")


def test_a_release_ends_one_hold_by_its_id(run: Run) -> None:
    assert run("hold", "--sender", "119", "--isp", "Gmail").stdout == "1 messages held. Hold 1 is active.\n"
    assert run("hold", "--sender", "119", "--isp", "Yahoo").stdout == "1 messages held. Hold 2 is active.\n"
    assert rows(run("release", "--sender", "119", "--hold", "1", "--dry-run", "--json")) == [{"hold": 1, "total": 1}]
    assert run("release", "--sender", "119", "--hold", "1").stdout == "1 messages released.\n"
    assert [each["id"] for each in rows(run("holds", "--json"))] == [2]
    for sender, hold in (("119", "1"), ("120", "2")):
        refused = run("release", "--sender", sender, "--hold", hold)
        assert refused.returncode == 1
        assert "hold_id must be the id of an active hold of this sender" in refused.stderr
    both = run("release", "--sender", "119", "--hold", "2", "--isp", "Gmail")
    assert both.returncode == 2
    assert "--hold can't be combined with" in both.stderr


@pytest.mark.parametrize(
    "options",
    [
        *(
            ("--isp", ""),
            ("--isp", " "),
            ("--account", "0"),
            ("--campaign", "0"),
            ("--account", ""),
            ("--at-most", "-1"),
        ),
        *(("--account", "306", "--account", "307"), ("--isp", "Gmail", "--isp", "Yahoo"), ("--sender", "120")),
    ],
)
@pytest.mark.parametrize("command", ["hold", "release", "purge"])
def test_a_filter_that_matches_everything_is_wrong_usage(run: Run, command: str, options: tuple[str, ...]) -> None:
    refused = run(command, "--sender", "119", *options)
    assert refused.returncode == 2, refused.stdout
    assert options[0] in refused.stderr


def test_the_name_in_the_audit_log_does_not_depend_on_the_environment(urls: dict[str, str]) -> None:
    names = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "somebody")
    assert queuestats("purge", "--sender", "119", "--yes", **urls, **names).returncode == 0
    entries = rows(queuestats("audit", "--json", **urls))
    assert {(each["actor_kind"], each["actor_name"]) for each in entries} == {("command", user())}


def test_a_job_is_cancelled_once(run: Run, database: TestDatabase) -> None:
    async def begin() -> None:
        connection = await asyncpg.connect(database.owner_url)
        await connection.execute(
            "SELECT queuestats.start_job('purge', 119, NULL, NULL, NULL, 'operator', 'request', '', NULL)"
        )
        await connection.close()

    asyncio.run(begin())
    assert run("jobs", "--cancel", "1").stdout == "Job 1 is cancelled.\n"
    assert run("jobs", "--cancel", "1").stderr == "Error: There is no open job 1.\n"
    assert rows(run("jobs", "--json"))[0]["state"] == "cancelled"
    assert rows(run("audit", "--json"))[0]["action"] == "cancel"


@pytest.mark.parametrize("time", ["2", "h", "-1h", "0s", "366d", "1w"])
def test_an_invalid_time_is_wrong_usage(run: Run, time: str) -> None:
    refused = run("hold", "--sender", "119", "--expires-in", time)
    assert refused.returncode == 2
    assert "is not a time such as 90d, 12h, 30m or 45s" in refused.stderr


@pytest.mark.parametrize("option", [("--reason", "x" * 201), ("--reason", "a\udcff"), ("--isp", "a\udcff")])
def test_a_text_that_can_not_be_stored_is_wrong_usage(run: Run, option: tuple[str, str]) -> None:
    refused = run("hold", "--sender", "119", *option)
    assert refused.returncode == 2, refused.stderr
    assert "it must" in refused.stderr


def test_prune_counts_or_deletes_and_prints_the_number(run: Run) -> None:
    old = (
        "INSERT INTO queuestats.audit_log (at, action, sender_id, request_id)"
        " VALUES (now() - interval '9 days', 'hold', 1, '')"
    )
    assert run("psql", "-qc", old).returncode == 0
    expected = [{"jobs": 0, "job_chunks": 0, "audit_log": 1}]
    for options in (("--dry-run",), ()):
        assert msgspec.json.decode(run("prune", "--older-than", "8d", "--json", *options).stdout) == expected
    assert "audit_log" in run("prune", "--older-than", "8d").stdout
    assert run("prune").returncode == 2
