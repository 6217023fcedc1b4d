"""`hold`, `release`, `purge`, `holds`, `jobs` and `audit` from the terminal."""

import asyncio
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
    """Of a database with three messages of the sender 119."""

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


def test_hold_and_release_say_what_they_did(run: Run) -> None:
    held = run("hold", "--sender", "119", "--isp", "Gmail", "--reason", "blocked", "--expires-in", "2h")
    assert held.stdout == "1 messages held. Hold 1 is active.\n", held.stderr
    (hold,) = rows(run("holds", "--json"))
    assert (hold["isp"], hold["reason"], hold["messages"]) == ("Gmail", "blocked", 1)
    assert hold["expires_at"] > hold["created_at"]
    assert run("release", "--sender", "119").stdout == "1 messages released.\n"
    assert rows(run("holds", "--json")) == []
    entries = rows(run("audit", "--sender", "119", "--json"))
    assert [each["action"] for each in entries if each["action"] != "finish"] == ["release", "hold"]
    assert all(each["token_name"].endswith(" at the terminal") for each in entries)
    assert {each["state"] for each in rows(run("jobs", "--json"))} <= {"settling", "done"}


def test_a_dry_run_counts_and_changes_nothing(run: Run) -> None:
    assert "3" in run("purge", "--sender", "119", "--dry-run").stdout
    (counts,) = rows(run("purge", "--sender", "119", "--dry-run", "--json"))
    assert counts["total"] == 3
    assert rows(run("jobs", "--json")) == []


def test_a_whole_queue_is_removed_after_confirmation_only(run: Run, urls: dict[str, str], tmp_path: Path) -> None:
    refused = run("purge", "--sender", "119")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    command = [*program(), "purge", "--sender", "119"]
    seen, exit_code = run_on_terminal(command, tmp_path, until=b"[y/N]", keys=b"n\n", **urls)
    assert exit_code == 1, seen
    assert run("purge", "--sender", "119", "--isp", "Gmail").stdout == "1 messages removed.\n"
    assert run("purge", "--sender", "119", "--yes").stdout == "2 messages removed.\n"


def test_a_job_is_cancelled_once(run: Run, database: TestDatabase) -> None:
    async def begin() -> None:
        connection = await asyncpg.connect(database.owner_url)
        await connection.execute(
            "SELECT queuestats.start_job('purge', 119, NULL, NULL, NULL, 'somebody', 'request', '', NULL)"
        )
        await connection.close()

    asyncio.run(begin())
    assert run("jobs", "--cancel", "1").stdout == "Job 1 is cancelled.\n"
    assert run("jobs", "--cancel", "1").stderr == "Error: There is no open job 1.\n"
    assert rows(run("jobs", "--json"))[0]["state"] == "cancelled"
    assert rows(run("audit", "--json"))[0]["action"] == "cancel"


@pytest.mark.parametrize("time", ["2", "h", "-1h", "0s", "366d", "1w"])
def test_what_is_no_time_is_wrong_usage(run: Run, time: str) -> None:
    refused = run("hold", "--sender", "119", "--expires-in", time)
    assert refused.returncode == 2
    assert "is not a time such as 90d, 12h, 30m or 45s" in refused.stderr


@pytest.mark.parametrize("option", [("--reason", "x" * 201), ("--reason", "a\udcff"), ("--isp", "a\udcff")])
def test_a_text_that_can_not_be_kept_is_wrong_usage(run: Run, option: tuple[str, str]) -> None:
    refused = run("hold", "--sender", "119", *option)
    assert refused.returncode == 2, refused.stderr
    assert "it must" in refused.stderr
