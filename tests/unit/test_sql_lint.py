"""`make check` refuses a migration that blocks writers, and SQL in another style."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
# The statements with which migrations/env.py begins, and then a revision in its transaction.
REVISION = "SET statement_timeout = '10min';\nSET lock_timeout = '3s';\nBEGIN;\n{}\nCOMMIT;\n"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAMS / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)


def squawk(path: Path, sql: str) -> subprocess.CompletedProcess[str]:
    path.write_text(sql)
    return run("squawk", "--reporter", "gcc", path)


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("CREATE INDEX by_isp ON messages (isp);", "require-concurrent-index-creation"),
        ("CREATE INDEX CONCURRENTLY by_isp ON messages (isp);", "ban-concurrent-index-creation-in-transaction"),
        ("ALTER TABLE messages ADD COLUMN kind text NOT NULL;", "adding-required-field"),
        ("ALTER TABLE messages ADD CONSTRAINT tried CHECK (attempts >= 0);", "constraint-missing-not-valid"),
        ("ALTER TABLE messages ALTER COLUMN attempts TYPE bigint;", "changing-column-type"),
        ("ALTER TABLE messages RENAME COLUMN isp TO provider;", "renaming-column"),
        ("ALTER TABLE messages DROP COLUMN attempts;", "ban-drop-column"),
    ],
)
def test_a_migration_that_locks_the_queue_or_breaks_its_readers_fails(
    tmp_path: Path, statement: str, rule: str
) -> None:
    ended = squawk(tmp_path / "revision.sql", REVISION.format(statement))
    assert ended.returncode == 1
    assert rule in ended.stdout


def test_a_new_table_with_its_index_passes(tmp_path: Path) -> None:
    statement = "CREATE TABLE held (sender_id bigint NOT NULL);\nCREATE INDEX held_sender_id ON held (sender_id);"
    ended = squawk(tmp_path / "revision.sql", REVISION.format(statement))
    assert ended.returncode == 0, ended.stdout


def test_a_migration_without_its_limits_fails(tmp_path: Path) -> None:
    ended = squawk(tmp_path / "revision.sql", "ALTER TABLE messages ADD COLUMN kind text;")
    assert ended.returncode == 1
    assert "require-lock-timeout" in ended.stdout


def test_sql_in_another_style_fails(tmp_path: Path) -> None:
    path = tmp_path / "open.sql"
    path.write_text("select  A from messages where sender_id=cast(:sender_id as bigint)\n")
    ended = run("sqlfluff", "lint", "--config", ROOT / ".sqlfluff", path)
    assert ended.returncode == 1
    assert {"LT01", "CP01", "CP02"} <= set(ended.stdout.split())
