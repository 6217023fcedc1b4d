"""The file of every statement runs in psql, with its places filled, and returns the same rows as in asyncpg."""

import re
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.cli.psql import fill_file
from service.db import Statement, load_statement
from service.embedded import binaries
from service.resources import sql_path
from tests.conftest import TestDatabase
from tests.oracle import Message, insert

# The results of these depend on the time and on the transactions of other sessions, so they change within a moment.
OF_THE_MOMENT = re.compile(
    r"now\(\)|clock_timestamp|pg_stat_|pg_current_snapshot|pg_prepared_xacts|health\(\)|history_clock|rates_of"
)
# These return a new id each time, so no number is compared.
NEW_IDS = ("queries/control/start",)
# These need a view or a function of an extension that a server may lack.
EXTENSIONS = ("pg_stat_statements", "pgstattuple_approx")
MOMENT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)

# A value of each type, for asyncpg and for `-v name=value` of psql. Some parameters have their own value.
VALUES: dict[str, tuple[Any, str]] = {
    "sender_id bigint": (119, "119"),
    "account_id bigint": (None, "NULL"),
    "isp text": ("Gmail", "'Gmail'"),
    "action text": ("hold", "'hold'"),
    "grouping_set text": ("isp", "'isp'"),
    "upto_news bigint[]": ([2**62], f"'{{{2**62}}}'"),
    "name text": ('it\'s "mine"', "'it''s \"mine\"'"),
    "after text": (None, "NULL"),
    "of_status text": ("new", "'new'"),
    "bigint": (4591, "4591"),
    "integer": (3, "3"),
    "smallint": (3, "3"),
    "text": ("x", "'x'"),
    "mapping text": ("{}", "'{}'"),
    "file text": ("SELECT 1", "'SELECT 1'"),
    "message_status": ("new", "'new'"),
    "bytea": (b"\x00\xff", r"'\x00ff'"),
    "boolean": (True, "true"),
    "boolean[]": ([True], "'{true}'"),
    "timestamptz": (MOMENT, f"'{MOMENT.isoformat()}'"),
    "interval": (timedelta(minutes=1), "'1 minute'"),
    "double precision": (0.5, "0.5"),
    "bigint[]": ([1], "'{1}'"),
    "integer[]": ([1], "'{1}'"),
    "text[]": (["x"], "'{x}'"),
    "timestamptz[]": ([MOMENT], f"ARRAY['{MOMENT.isoformat()}']"),
}


# VACUUM runs outside a transaction.
NOT_ROLLED_BACK = ("bench/vacuum",)
# They call functions that only an adopted table or 0.1.0 has, or they destroy data.
ADOPTED = ("queries/adopt/remember_names", "queries/adopt/drop_schema", "migrate/from_0_1_0", "migrate/lock_messages")


def is_runnable(path: Path) -> bool:
    """The statements for one machine and our own table that need no optional extension."""
    text = path.read_text("utf-8")
    parts = path.relative_to(sql_path()).parts
    is_for_another = (
        {"citus", "node"} & {*parts} or "adopt" in parts[:1] or name_of(path) in (*ADOPTED, *NOT_ROLLED_BACK)
    )
    return (
        not is_for_another
        and "\n-- parameters: " in text
        and not any(re.search(rf"(FROM|JOIN) .*{each}", text) for each in EXTENSIONS)
    )


def name_of(path: Path) -> str:
    return str(path.relative_to(sql_path()).with_suffix(""))


FILES = sorted(filter(is_runnable, sql_path().rglob("*.sql")))


def value(asked: Statement, parameter: str) -> tuple[Any, str]:
    type_ = asked.types[parameter]
    return VALUES.get(f"{parameter} {type_}") or VALUES[type_]


def in_psql(url: str, path: Path, asked: Statement) -> list[str]:
    """The rows as `queuestats psql` prints them, of a transaction that is rolled back."""
    variables = [f"--set={parameter}={value(asked, parameter)[1]}" for parameter in asked.types]
    command: list[str | Path] = [
        binaries(18) / "psql",
        "-XAtq",
        "--field-separator=|",
        "--set=ON_ERROR_STOP=1",
        "--dbname",
        url,
    ]
    command += [*variables, "-c", "SET TimeZone = 'UTC'", "-c", "BEGIN", "-f", path, "-c", "ROLLBACK"]
    with tempfile.TemporaryDirectory() as folder:
        command = [fill_file(str(argument), Path(folder), "public") for argument in command]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


async def in_asyncpg(url: str, asked: Statement) -> list[str]:
    """The rows from asyncpg, written as psql writes them."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    rows = await connection.fetch(
        asked.sql, *asked.bind({parameter: value(asked, parameter)[0] for parameter in asked.types})
    )
    await transaction.rollback()
    await connection.close()
    return ["|".join(map(spelt, row.values())) for row in rows if row]


def spelt(cell: Any) -> str:
    if isinstance(cell, list):
        return "{" + ",".join(map(spelt, cell)) + "}"
    match cell:
        case None:
            return ""
        case bool():
            return "t" if cell else "f"
        case bytes():
            return rf"\x{cell.hex()}"
        case datetime():
            # PostgreSQL leaves out trailing zeros of a fraction, and the minutes of an offset if they are 0.
            return cell.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".") + "+00"
        case _:
            return str(cell)


@pytest.mark.parametrize("path", FILES, ids=name_of)
async def test_psql_runs_the_file_and_returns_the_rows_of_asyncpg(
    path: Path, database: TestDatabase, owner: Any
) -> None:
    asked = load_statement(name_of(path))
    await insert(owner, [Message(119, 306, 4591, "Gmail", status) for status in ("new", "new", "proc", "hold")])
    await owner.execute("INSERT INTO queuestats.tokens (name, hash) VALUES ('it''s \"mine\"', 'x'), ('other', 'y')")

    rows, rows_in_psql = await in_asyncpg(database.owner_url, asked), in_psql(database.owner_url, path, asked)
    if asked.name.startswith(NEW_IDS):
        rows, rows_in_psql = ([re.sub(r"\d+", "0", row) for row in found] for found in (rows, rows_in_psql))
    if not OF_THE_MOMENT.search(asked.sql):
        assert rows_in_psql == rows
