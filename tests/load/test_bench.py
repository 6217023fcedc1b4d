"""`queuestats bench` in its smallest size: it measures all variants, compares their rows, and leaves nothing behind."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from service.errors import CommandError
from service.resources import sql_path
from service.settings import Settings
from service.workbench.bench.sql import VARIANTS, WITH_INDEXES, measure_sql
from service.workbench.bench.write import LOADS, Load, run_pgbench
from tests.cli.programs import queuestats, sentence
from tests.load.charts import draw

ENVIRONMENT = {"measured_at", "commit", "postgresql", "server_settings", "seed", "rounds", "messages"}
STATES = ("fresh", "churned", "1,000 deltas pending")


def run(settings: Settings, *arguments: str) -> Any:
    ended = queuestats("bench", *arguments, **addresses(settings))
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout) if "--json" in arguments else ended.stdout


def addresses(settings: Settings) -> dict[str, str]:
    assert settings.database_url
    assert settings.owner_url
    return {
        "QUEUESTATS_DATABASE_URL": settings.database_url,
        "QUEUESTATS_ADMIN_DATABASE_URL": settings.owner_url,
    }


async def shape(owner: Any) -> Any:
    """The indexes, triggers and storage options of messages."""
    return await owner.fetch(
        "SELECT indexdef, (SELECT array_agg(tgenabled) FROM pg_trigger WHERE tgrelid = 'messages'::regclass),"
        " (SELECT reloptions FROM pg_class WHERE oid = 'messages'::regclass)"
        " FROM pg_indexes WHERE tablename = 'messages' ORDER BY indexdef"
    )


@pytest.mark.slow
async def test_every_variant_returns_rows_in_every_state(
    disposable: Settings, owner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await shape(owner)
    monkeypatch.setattr("service.workbench.bench.sql.REPEATS", 2)
    report = await measure_sql(disposable, print, sizes=(200, 2000), rounds=1, seed=1)

    assert report["environment"].keys() >= ENVIRONMENT
    assert report["environment"]["messages"] == [2000, 200]
    measured = {(each["state"], each["messages"], each["variant"]) for each in report["results"]}
    assert measured == {(state, size, each.name) for state in STATES for size in (200, 2000) for each in VARIANTS}
    assert all(each["rows"] and each["client_ms"] > 0 and each["pages"] > 0 for each in report["results"])
    assert await shape(owner) == before
    assert await owner.fetch("SELECT * FROM queuestats.audit(NULL)") == []
    assert [ElementTree.parse(path).getroot().tag for path in draw(report, tmp_path)] == [
        "{http://www.w3.org/2000/svg}svg"
    ] * len(STATES) * 4


@pytest.mark.slow
async def test_writers_write_with_every_variant(disposable: Settings, owner: Any) -> None:
    before = await shape(owner)
    options = ("--rounds", "1", "--seconds", "1", "--messages", "1000", "--candidates", "--json")
    report = run(disposable, "write", *options)

    assert report["environment"].keys() >= ENVIRONMENT
    assert len(report["results"]) == len(LOADS) * (3 + len(WITH_INDEXES))
    assert all(each["messages_per_second"] > 0 for each in report["results"])
    assert await shape(owner) == before
    assert await owner.fetchval("SELECT count(*) FROM messages") == 1000


@pytest.mark.slow
def test_a_scratch_server_and_a_table_are_the_defaults() -> None:
    ended = queuestats("bench", "sql", "--sizes", "100", "--rounds", "1")
    assert ended.returncode == 0, ended.stderr
    assert "fsync on" in ended.stdout
    assert "| state | messages | group | variant | rows |" in ended.stdout


@pytest.mark.parametrize("command", ["sql", "write"])
async def test_a_database_that_is_not_marked_disposable_is_refused(
    disposable: Settings, owner: Any, command: str
) -> None:
    await owner.execute("INSERT INTO messages (sender_id, recipient) VALUES (7, 'someone@example.com')")
    name = await owner.fetchval("SELECT quote_ident(current_database())")
    await owner.execute(f"COMMENT ON DATABASE {name} IS NULL")
    assert "not marked disposable" in sentence(queuestats("bench", command, **addresses(disposable)))
    assert await owner.fetchval("SELECT count(*) FROM messages") == 1


async def test_a_failure_of_pgbench_is_an_error_in_one_sentence(disposable: Settings, owner: Any) -> None:
    await owner.execute("DROP TABLE messages CASCADE")
    with pytest.raises(CommandError, match="pgbench failed"):
        await run_pgbench(disposable.owner_url or "", Load("hot", "hot_keys", 1, 2), 1)


def test_each_variant_with_indexes_can_drop_them_again() -> None:
    assert WITH_INDEXES
    assert [each.name for each in WITH_INDEXES if not sql_path(each.folder, "drop.sql").is_file()] == []
