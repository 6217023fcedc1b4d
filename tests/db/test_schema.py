"""`sql/schema.sql`, the newest schema for readers, equals the result of the migrations. `make schema` generates it."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.embedded import binaries
from service.resources import sql_path
from tests.conftest import TestDatabase

SCHEMA = sql_path("schema.sql")
HEADER = """\
-- The newest schema, with the rights of the service's role, as pg_dump writes it. Generated: `make schema`.
-- A database gets it from migrations/, and what follows the last revision from sql/counters/ and sql/roles.sql.
"""
# Lines that depend on the version of the server or of pg_dump, or are random, and do not describe the schema.
NOISE = re.compile(r"^(SET \w+ = .*;|SELECT pg_catalog\.set_config\(.*;|\\(un)?restrict .*|--.*)\n", re.MULTILINE)


def dump(url: str) -> str:
    command: list[str | Path] = [binaries(18) / "pg_dump", "--schema-only", "--no-owner", "--dbname", url]
    done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
    body = re.sub(r"\n{2,}", "\n\n", NOISE.sub("", done.stdout)).strip()
    return f"{HEADER}\n{body}\n" if body else HEADER


async def test_the_schema_file_is_the_result_of_the_migrations(database: TestDatabase, owner: Any) -> None:
    if owner.get_server_version().major < 16:
        pytest.skip("PostgreSQL 15 writes more table names into the text of a view")
    made = dump(database.owner_url)
    if os.environ.get("WRITE_SCHEMA"):
        SCHEMA.write_text(made, "utf-8")
    assert SCHEMA.read_text("utf-8") == made, "sql/schema.sql is not up to date: run make schema, and read its diff"


def test_the_schema_file_has_no_name_of_a_database_and_no_random_text(
    database: TestDatabase, empty_database: TestDatabase
) -> None:
    made = dump(database.owner_url)

    assert dump(database.owner_url) == made
    assert database.name not in made
    assert "restrict" not in made
    assert dump(empty_database.owner_url) == HEADER
    assert "GRANT SELECT ON TABLE queuestats.queued_messages TO queuestats_service;" in made
