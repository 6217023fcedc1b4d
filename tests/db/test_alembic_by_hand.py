"""`alembic` in a checkout uses the settings, limits and names of `queuestats migrate`."""

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection

from service.schema.revisions import MOST_ATTEMPTS, with_alembic
from tests.conftest import TestDatabase

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that `alembic` needs, in which a test can create a revision."""
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def alembic(checkout: Path, database: TestDatabase, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=checkout,
        env={**os.environ, "QUEUESTATS_ADMIN_DATABASE_URL": database.owner_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_migrates_up_and_down(checkout: Path, empty_database: TestDatabase) -> None:
    alembic(checkout, empty_database, "upgrade", "head")
    assert "(head)" in alembic(checkout, empty_database, "current")
    alembic(checkout, empty_database, "check")
    alembic(checkout, empty_database, "downgrade", "base")
    assert alembic(checkout, empty_database, "current") == ""


@pytest.mark.parametrize("autogenerate", [True, False])
def test_a_new_revision_is_named_by_its_day_and_begins_with_the_rules(
    checkout: Path, database: TestDatabase, autogenerate: bool
) -> None:
    old = set((checkout / "migrations" / "versions").glob("*.py"))
    alembic(checkout, database, "revision", *(["--autogenerate"] if autogenerate else []), "-m", "Count the sheep")
    (new,) = set((checkout / "migrations" / "versions").glob("*.py")) - old

    assert re.fullmatch(rf"{datetime.now(UTC):%Y%m%d}_\d\d_count_the_sheep\.py", new.name)
    assert new > max(old)
    text = new.read_text()
    assert "Phase: expand | contract" in text
    assert f"Written: {datetime.now(UTC):%Y-%m-%d}" in text
    assert text.count("    pass\n") == 2
    alembic(checkout, database, "upgrade", "head")


@pytest.mark.parametrize("deadlocks", [1, MOST_ATTEMPTS])
async def test_after_a_deadlock_with_a_writer_it_tries_again(owner: Any, deadlocks: int) -> None:
    attempts = 0

    def work(wrapped: Connection) -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= deadlocks:
            wrapped.exec_driver_sql("DO $$ BEGIN RAISE deadlock_detected; END $$")

    if deadlocks < MOST_ATTEMPTS:
        await with_alembic(owner, work)
        assert attempts == deadlocks + 1
    else:
        with pytest.raises(asyncpg.DeadlockDetectedError):
            await with_alembic(owner, work)
