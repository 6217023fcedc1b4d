"""`migrate`, `seed` and `token`: the commands of an owner, with their exit codes and output."""

import asyncio
import subprocess
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.counters.health import CONDITIONS
from service.schema.revisions import revisions
from tests.cli.programs import ROOT, Run, environment, program, queuestats, run_on_terminal, sentence
from tests.conftest import TestDatabase

CREATED = {"name", "created_at", "revoked_at"}


def on(database: TestDatabase) -> Run:
    """The program, with both addresses of the database of this test in its environment."""
    return partial(
        queuestats,
        QUEUESTATS_DATABASE_URL=database.service_url,
        QUEUESTATS_ADMIN_DATABASE_URL=database.owner_url,
    )


def mark(database: TestDatabase) -> None:
    sql = f"COMMENT ON DATABASE {database.name} IS 'queuestats: disposable'"
    assert on(database)("psql", "-c", sql).returncode == 0


def count(database: TestDatabase) -> int:
    return int(on(database)("psql", "-Atc", "SELECT count(*) FROM messages").stdout)


def test_the_exit_code_of_migrate_shows_pending_work_and_migrate_does_it_once(empty_database: TestDatabase) -> None:
    run = on(empty_database)
    steps = [run("migrate", "--check"), run("migrate"), run("migrate", "--check"), run("migrate")]
    assert [step.returncode for step in steps] == [1, 0, 0, 0]
    assert [step.stdout.splitlines()[-1].partition(":")[0] for step in steps] == [
        "contract",
        *["The schema is current."] * 3,
    ]
    assert [step.stderr for step in steps] == [""] * 4


def test_a_check_changes_nothing(empty_database: TestDatabase) -> None:
    run = on(empty_database)
    run("migrate", "--check")
    assert run("psql", "-Atc", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").stdout == "0\n"


def test_the_services_role_may_not_migrate(template: str, empty_database: TestDatabase) -> None:
    """The fixture `template` has created the role."""
    said = sentence(queuestats("migrate", QUEUESTATS_DATABASE_URL=empty_database.service_url))
    assert "permission denied" in said


@pytest.mark.parametrize(
    "command",
    [
        *(("token", "list"), ("token", "create", "x"), ("token", "revoke", "x"), ("seed", "--messages", "10")),
        *(("stats", "--sender", "1"), ("explain", "--sender", "1"), ("verify",), ("fold",), ("simulate",)),
    ],
)
def test_a_database_without_a_schema_is_one_sentence_that_names_migrate(
    empty_database: TestDatabase, command: tuple[str, ...]
) -> None:
    assert "queuestats migrate" in sentence(on(empty_database)(*command))


def test_migrate_prints_its_changes_and_no_changes_the_second_time(empty_database: TestDatabase) -> None:
    run = on(empty_database)
    first, second = run("migrate").stdout.splitlines(), run("migrate").stdout.splitlines()
    assert [line for line in first if line.startswith("Revision ")] == [
        f"Revision {each}." for each in reversed(revisions())
    ]
    assert any(line.startswith("Functions of sql/counters/") for line in first)
    assert "Every message was counted." in first
    assert not any(line.startswith(("Revision", "Functions", "Every")) for line in second)
    assert first[-1] == second[-1] == "The schema is current."


def test_doctor_names_every_condition_that_it_examined(database: TestDatabase) -> None:
    ended = on(database)("doctor")
    named = {
        line.split("│")[2].strip(): line.split("│")[1].strip() for line in ended.stdout.splitlines() if "│" in line
    }
    looked_for = {condition.name for condition in CONDITIONS} - {"slow_statements"}
    assert {"schema", "probe"} | looked_for <= named.keys()
    assert named["triggers"] == "ok"


def test_alembic_reports_an_unknown_target_in_one_line(empty_database: TestDatabase) -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("alembic"), "upgrade", "foo"],
        cwd=ROOT,
        env=environment(QUEUESTATS_DATABASE_URL=empty_database.owner_url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr + ended.stdout
    assert "'foo'" in ended.stderr + ended.stdout


def test_seed_refuses_a_database_that_is_not_marked_and_prints_how_to_mark_it(database: TestDatabase) -> None:
    said = sentence(on(database)("seed", "--messages", "10"))
    assert f"COMMENT ON DATABASE {database.name} IS 'queuestats: disposable'" in said
    assert count(database) == 0


def test_seed_fills_only_an_empty_queue_unless_it_may_replace_it(database: TestDatabase) -> None:
    mark(database)
    run = on(database)
    filled = run("seed", "--messages", "1000", "--senders", "10")
    assert filled.returncode == 0
    assert "Seeded 1,000 messages of 10 senders" in filled.stdout
    assert "Seeding: 1,000 of 1,000\n" in filled.stderr
    refused = run("seed", "--messages", "500")
    assert "not empty" in sentence(refused)
    assert "--replace" in sentence(refused)
    assert count(database) == 1000
    assert run("seed", "--messages", "500", "--replace").returncode == 0
    assert count(database) == 500


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--profile", "nonsense"), 2),
        (("--messages", "many"), 2),
        (("--messages", "0"), 2),
        (("--messages", "10", "--senders", "11"), 2),
        (("--seed", "-1"), 2),
    ],
)
def test_seed_refuses_an_impossible_plan(arguments: tuple[str, ...], code: int) -> None:
    refused = queuestats("seed", *arguments, QUEUESTATS_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert refused.returncode == code
    assert "Traceback" not in refused.stderr


def test_seed_shows_a_bar_on_a_terminal(folder: Path, database: TestDatabase) -> None:
    mark(database)
    command = [*program(), "seed", "--messages", "1000"]
    seen, code = run_on_terminal(command, folder, QUEUESTATS_DATABASE_URL=database.owner_url)
    assert code == 0
    assert "━━━" in seen
    assert "1000/1000" in seen


def test_only_the_created_token_is_printed(database: TestDatabase) -> None:
    made = on(database)("token", "create", "dashboard", "--json")
    answer = msgspec.json.decode(made.stdout)
    assert list(answer) == ["name", "token"]
    assert answer["name"] == "dashboard"
    assert made.stdout.count("\n") == 1
    assert made.stderr == ""
    plain = on(database)("token", "create", "other")
    assert plain.stdout.startswith("qs_")
    assert plain.stdout.count("\n") == 1


def test_tokens_are_listed_without_their_secrets(database: TestDatabase) -> None:
    run = on(database)
    assert msgspec.json.decode(run("token", "list", "--json").stdout) == []
    secret = msgspec.json.decode(run("token", "create", "dashboard", "--json").stdout)["token"]
    run("token", "create", "old")
    run("token", "revoke", "old")
    listed = msgspec.json.decode(run("token", "list", "--json").stdout)
    assert [(each["name"], each["revoked_at"] is None) for each in listed] == [("dashboard", True), ("old", False)]
    assert all(set(each) >= CREATED for each in listed)
    assert datetime.fromisoformat(listed[0]["created_at"]).utcoffset() is not None
    table = run("token", "list").stdout
    assert "dashboard" in table
    assert "│ stats  │" in table
    assert secret not in table


def test_a_name_is_given_once_and_revoked_once(database: TestDatabase) -> None:
    run = on(database)
    run("token", "create", "dashboard")
    assert "already" in sentence(run("token", "create", "dashboard"))
    assert run("token", "revoke", "dashboard").returncode == 0
    assert "No active token named 'dashboard'" in sentence(run("token", "revoke", "dashboard"))
    assert "No active token named 'absent'" in sentence(run("token", "revoke", "absent"))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
def test_an_invalid_name_is_refused(database: TestDatabase, name: str) -> None:
    assert "printable" in sentence(on(database)("token", "create", name))


@pytest.mark.parametrize(
    "setting", ["default_transaction_read_only = on", "default_transaction_isolation = serializable"]
)
def test_the_commands_of_the_owner_write_with_any_defaults_of_the_database(
    database: TestDatabase, empty_database: TestDatabase, setting: str
) -> None:
    for each in (database, empty_database):
        assert on(each)("psql", "-c", f"ALTER DATABASE {each.name} SET {setting}").returncode == 0
    assert on(empty_database)("migrate").returncode == 0
    for command in (("token", "create", "x"), ("fold",), ("verify", "--repair"), ("token", "revoke", "x")):
        ended = on(database)(*command)
        assert ended.returncode == 0, (command, ended.stderr)


async def test_a_concurrent_fold_has_exit_code_1_and_prints_the_reason(database: TestDatabase, owner: Any) -> None:
    async with owner.transaction():
        await owner.execute("LOCK TABLE queuestats.fold_lock IN EXCLUSIVE MODE")
        said = sentence(await asyncio.to_thread(on(database), "fold"))
    assert said == "Another fold is running."
