"""The table messages in another schema than public: migrated, written to, counted, verified."""

from functools import partial
from typing import Any

import asyncpg
import msgspec
import pytest

from service.errors import CommandError
from service.schema.migrate import migrate
from tests.cli.programs import Run, queuestats, sentence
from tests.conftest import TestDatabase


@pytest.fixture
def run(empty_database: TestDatabase) -> Run:
    return partial(
        queuestats,
        QUEUESTATS_DATABASE_URL=empty_database.service_url,
        QUEUESTATS_ADMIN_DATABASE_URL=empty_database.owner_url,
        QUEUESTATS_MESSAGES_SCHEMA="mail",
    )


def test_the_owners_commands_work_there_and_public_stays_empty(run: Run) -> None:
    assert run("migrate").stdout.endswith("The schema is current.\n")
    written = "INSERT INTO messages (sender_id, isp, recipient) VALUES (119, 'Gmail', 'x'), (119, 'Yahoo', 'x')"
    assert run("psql", "-qc", written).returncode == 0
    for source in ((), ("--from-messages",)):
        asked = run("stats", "--sender", "119", "--group", "isp", "--json", *source)
        assert asked.returncode == 0, asked.stderr
        rows = msgspec.json.decode(asked.stdout)
        assert [(row["isp"], row["total"]) for row in rows] == [("Gmail", 1), ("Yahoo", 1)]
    assert run("explain", "--sender", "119").stdout.startswith("As intended: ")
    for command in (("verify",), ("doctor",), ("migrate", "--check")):
        ended = run(*command)
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
    shown = run("psql", "-Atc", "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    assert shown.stdout == "0\n"


def test_a_schema_that_is_no_plain_name_is_one_sentence(run: Run) -> None:
    for name in ("Mail", "a b", "queuestats", "x" * 64):
        assert "QUEUESTATS_MESSAGES_SCHEMA must be a name of" in sentence(
            run("migrate", QUEUESTATS_MESSAGES_SCHEMA=name)
        )


async def test_another_schema_than_before_is_refused_and_changes_nothing(database: TestDatabase, owner: Any) -> None:
    with pytest.raises(CommandError, match="SCHEMA is mail, and messages of this database is in public"):
        await migrate(database.owner_url, database.service_url, messages_schema="mail")
    with pytest.raises(asyncpg.InvalidSchemaNameError):
        await owner.execute("CREATE TABLE mail.t ()")
