"""The log line of a slow statement has its file, its time, its server process and its requests."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from service.model import Format
from service.settings import Settings
from tests.api.wire import STATS, body_of, client_of, serving

LINE = re.compile(
    r"slow statement file=(sql/\S+\.sql) duration_ms=(\d+\.\d) backend=(\d+) requests=(\S*) request_count=(\d+)"
)
ALL, NONE = 0, 600_000
REQUESTS = 60


@asynccontextmanager
async def logging_from(settings: Settings, least_ms: int) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(replace(settings, slow_statement_ms=least_ms)) as url, client_of(url) as client:
        yield client


async def ask(client: httpx.AsyncClient, token: str, request_id: str, **members: Any) -> httpx.Response:
    body = body_of(Format.JSON, token=token, **{"id": 119, **members})
    return await client.post(STATS, content=body, headers={"X-Request-ID": request_id})


def lines_of(log: pytest.LogCaptureFixture, *files: str) -> list[tuple[str, ...]]:
    """The fields of the lines about these files."""
    found = (LINE.fullmatch(record.getMessage()) for record in log.records)
    return [each.groups() for each in found if each and each[1] in files]


def requested(lines: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The lines without those of the look-up at the start."""
    return [line for line in lines if line[3]]


async def test_the_line_names_the_file_the_milliseconds_the_process_and_the_request(
    settings: Settings, token: str, owner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with logging_from(settings, ALL) as client:
        await ask(client, token, "7f3a")
        processes = await owner.fetch("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    ((_, _, backend, requests, count),) = requested(lines_of(caplog, "sql/queries/from_counters/total.sql"))
    assert (requests, count) == ("7f3a", "1")
    assert int(backend) in {row["pid"] for row in processes} - {owner.get_server_pid()}


async def test_the_line_of_a_shared_statement_names_the_first_requests_and_how_many_there_are(
    settings: Settings, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with logging_from(settings, ALL) as client:
        await asyncio.gather(*(ask(client, token, f"r{number}", id=number + 1) for number in range(REQUESTS)))
    lines = requested(
        lines_of(caplog, "sql/queries/from_counters/total.sql", "sql/queries/from_counters/many/total.sql")
    )

    # Each request waits for one batch and belongs only to this one.
    assert sum(int(count) for *_, count in lines) == REQUESTS
    for *_, requests, count in lines:
        assert len(set(requests.split(","))) == min(5, int(count))
        assert set(requests.split(",")) <= {f"r{number}" for number in range(REQUESTS)}
    assert any(int(count) > 5 for *_, count in lines)


async def test_the_line_names_all_requests_of_one_query(
    settings: Settings, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with logging_from(settings, ALL) as client:
        # The token is in the cache then, so all requests are in the same batch.
        await ask(client, token, "first")
        await asyncio.gather(*(ask(client, token, f"r{number}") for number in range(3)))
    lines = requested(lines_of(caplog, "sql/queries/from_counters/total.sql"))
    named = [requests.split(",") for *_, requests, _ in lines]
    assert sorted(each for line in named for each in line) == ["first", "r0", "r1", "r2"]


async def test_a_statement_that_reached_its_time_limit_is_logged_and_fast_ones_are_not(
    settings: Settings, token: str, owner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with logging_from(replace(settings, request_time_limit_ms=4000), 1000) as client:
        assert (await ask(client, token, "quick")).status_code == 200
        caplog.clear()
        async with owner.transaction():
            await owner.execute("LOCK TABLE queuestats.counters IN ACCESS EXCLUSIVE MODE")
            assert (await ask(client, token, "late")).status_code == 504
    ((_, duration_ms, _, requests, _),) = requested(lines_of(caplog, "sql/queries/from_counters/total.sql"))
    assert float(duration_ms) >= 1000
    assert requests == "late"


async def test_fast_statements_are_not_logged_and_a_line_has_no_value_and_no_token(
    settings: Settings, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    values: dict[str, Any] = {"id": 918273645, "account_id": 564738291, "isp": "A-Private-ISP"}
    async with logging_from(settings, NONE) as client:
        await ask(client, token, "quiet", **values)
    assert "slow statement" not in caplog.text
    async with logging_from(settings, ALL) as client:
        await ask(client, token, "loud", **values)
    assert "requests=loud" in caplog.text
    assert [each for each in (*map(str, values.values()), token) if each in caplog.text] == []


async def test_the_line_of_a_statement_without_a_request_names_none(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with logging_from(settings, ALL), asyncio.timeout(120):
        while not lines_of(caplog, "sql/queries/fold.sql"):  # noqa: ASYNC110 - it sends no event
            await asyncio.sleep(0.02)
    assert {fields[3:] for fields in lines_of(caplog, "sql/queries/fold.sql")} == {("", "0")}
