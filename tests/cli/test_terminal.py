"""Texts from the database control neither a terminal nor a spreadsheet."""

import asyncio
import csv
from functools import partial
from pathlib import Path

import asyncpg
import msgspec
import pytest

from tests.cli.programs import Run, program, queuestats, run_on_terminal
from tests.conftest import TestDatabase

# A terminal runs the first three as commands. The last one reverses the direction of the following text.
EVIL = "evil\x1b]0;PWNED\x07 \x9b2J \x85 \u202e"
RAW = ("\x1b]0;", "\x07", "\x9b", "\x85", "\u202e")


@pytest.fixture
def run(database: TestDatabase) -> Run:
    """The program, on a database in which every text of a client or a writer has such characters."""

    async def fill() -> None:
        connection = await asyncpg.connect(database.owner_url)
        message = "INSERT INTO messages (sender_id, isp, status, recipient) VALUES (119, $1, 'new', 'a@b')"
        await connection.executemany(message, [(EVIL,), ("=1+1",), ("@sum",), ("-Yahoo",), ("\tGmail",), ("Gmail",)])
        await connection.execute(f"""CREATE SCHEMA "{EVIL}"; CREATE TABLE "{EVIL}".q (id serial PRIMARY KEY, s int)""")
        await connection.close()

    asyncio.run(fill())
    urls = {
        "QUEUESTATS_DATABASE_URL": database.service_url,
        "QUEUESTATS_ADMIN_DATABASE_URL": database.owner_url,
    }
    assert queuestats("hold", "--sender", "7", "--reason", EVIL, **urls).returncode == 0
    return partial(queuestats, **urls)


@pytest.mark.parametrize(
    "command",
    [
        *(("stats", "--sender", "119", "--group", "isp", *form) for form in ((), ("--csv",), ("--json",))),
        ("stats", "--sender", "119", "--isp", EVIL.upper()),
        ("explain", "--sender", "119", "--isp", EVIL),
        ("holds",),
        ("jobs",),
        ("audit",),
        ("adopt", "--table", f'"{EVIL}".q', "--sender", "s", "--status", "'new'"),
        ("adopt", "--table", f'"{EVIL}".q', "--sender", "s", "--status", "'new'", "--sql"),
        ("adopt", "--table", f'"{EVIL}".none', "--sender", "s", "--status", "'new'"),
    ],
)
def test_no_command_writes_the_databases_control_characters_to_a_terminal(
    run: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    settings = {**run.keywords, "COLUMNS": "1000"}  # type: ignore[attr-defined]
    seen, _ = run_on_terminal([*program(), *command], tmp_path, **settings)
    assert [sign for sign in RAW if sign in seen] == []
    if command[0] not in ("jobs", "explain"):
        assert "\\u202e" in seen


def test_top_writes_no_control_characters(run: Run, tmp_path: Path) -> None:
    command = [*program(), "top", "--by", "isp", "--sender", "119"]
    seen, _ = run_on_terminal(command, tmp_path, until=b"total", keys=b"q", **run.keywords)  # type: ignore[attr-defined]
    assert [sign for sign in RAW if sign in seen] == []


def test_json_has_the_exact_text_with_only_printable_characters(run: Run) -> None:
    shown = run("stats", "--sender", "119", "--group", "isp", "--json").stdout
    assert shown.removesuffix("\n").isprintable()
    assert EVIL in [row["isp"] for row in msgspec.json.decode(shown)]


def test_no_text_of_a_csv_is_a_formula_in_a_spreadsheet(run: Run) -> None:
    shown = run("stats", "--sender", "119", "--group", "isp", "--csv").stdout
    isps = [row["isp"] for row in csv.DictReader(shown.splitlines())]
    assert {*isps} >= {"'=1+1", "'@sum", "'-Yahoo", "'\tGmail", "Gmail"}


def test_adopt_prints_sql_to_a_file_as_it_runs(run: Run) -> None:
    shown = run("adopt", "--table", f'"{EVIL}".q', "--sender", "s", "--status", "'new'", "--sql").stdout
    assert f'"{EVIL}".q' in shown
