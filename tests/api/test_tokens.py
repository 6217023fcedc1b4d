"""Tokens are valid at once and refused within a second of a revocation. Wrong tokens cause few statements."""

import asyncio
import re
import time
from collections import Counter
from typing import Any

import asyncpg
import httpx
import pytest

from service.access.admin import create_token, revoke_token
from service.access.cache import LOOK_UP_PAUSE_SECONDS
from service.model import Format, Grouping
from service.settings import PREFIX, Settings
from service.telemetry.origin import origins
from tests.api.wire import STATS, body_of, check_error, client_of, serve_process, serving
from tests.conftest import TestDatabase

SENDER = 119


async def ask(client: httpx.AsyncClient, token: str) -> int:
    return (await client.post(STATS, content=body_of(Format.JSON, token=token, id=SENDER))).status_code


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that the service runs for requests from now on, without those of folds and jobs."""
    statements: list[str] = []
    create_pool = asyncpg.create_pool

    def note(logged: Any) -> None:
        if origins.get():
            statements.append(logged.query)

    async def listen(connection: Any) -> None:
        connection.add_query_logger(note)

    monkeypatch.setattr(asyncpg, "create_pool", lambda *args, **kwargs: create_pool(*args, **kwargs, init=listen))
    return statements


def questions(asked: list[str]) -> Counter[str]:
    """How often each file ran."""
    return Counter(re.findall(r"/\* ((?:queries|scan|tokens)/[\w/]+\.sql) \*/", "\n".join(asked)))


async def test_a_created_token_works_at_once(client: httpx.AsyncClient, database: TestDatabase) -> None:
    for number in range(30):
        assert await ask(client, "wrong") == 401
        token = await create_token(database.owner_url, f"token {number}")
        assert await ask(client, token) == 200


async def test_a_replaced_token_is_refused_and_its_successor_works_at_once(
    client: httpx.AsyncClient, token: str, database: TestDatabase
) -> None:
    assert await ask(client, token) == 200
    successor = await create_token(database.owner_url, "tests", replace=True)
    assert await ask(client, successor) == 200
    assert await ask(client, token) == 401


@pytest.mark.slow
async def test_a_revoked_token_is_refused_by_every_worker_within_a_second(database: TestDatabase) -> None:
    tokens = [await create_token(database.owner_url, f"token {number}") for number in range(3)]
    with serve_process({f"{PREFIX}DATABASE_URL": database.service_url}, "--workers", "2") as served:

        async def ask_on_new_connections(token: str) -> set[int]:
            # The kernel distributes connections over the workers.
            async def once() -> int:
                async with client_of(served.url) as client:
                    return await ask(client, token)

            return set(await asyncio.gather(*(once() for _ in range(20))))

        for number, token in enumerate(tokens):
            assert await ask_on_new_connections(token) == {200}
            await revoke_token(database.owner_url, f"token {number}")
            await asyncio.sleep(1)
            assert await ask_on_new_connections(token) == {401}


async def test_a_valid_token_is_not_looked_up_for_every_request(
    settings: Settings, token: str, asked: list[str]
) -> None:
    async with serving(settings) as url, client_of(url) as client:
        began = time.monotonic()
        for _ in range(100):
            assert await ask(client, token) == 200
        seconds = time.monotonic() - began
    # One at the start, then one in each 0.4 s, for any number of requests.
    assert questions(asked)["tokens/valid.sql"] <= 2 + seconds / 0.4


async def test_any_number_of_wrong_tokens_causes_few_look_ups(settings: Settings, token: str, asked: list[str]) -> None:
    async with serving(settings) as url, client_of(url) as client:
        began = time.monotonic()
        for _ in range(3):
            tries = [ask(client, f"wrong {number}") for number in range(50)]
            *refused, right = await asyncio.gather(*tries, ask(client, token))
            assert (set(refused), right) == ({401}, 200)
        seconds = time.monotonic() - began
    assert questions(asked)["tokens/valid.sql"] <= 2 + seconds / LOOK_UP_PAUSE_SECONDS
    assert questions(asked)["tokens/valid.sql"] < 75
    assert not any("wrong" in query for query in asked)


@pytest.mark.parametrize("grouping", Grouping)
async def test_a_request_runs_one_statement_for_any_size_of_the_queue(
    settings: Settings, owner: Any, token: str, asked: list[str], grouping: Grouping
) -> None:
    body = body_of(Format.XML, token=token, id=SENDER, group=grouping)
    async with serving(settings) as url, client_of(url) as client:
        await client.post(STATS, content=body)
        # After this request, the look-up at the start has ended.
        await client.get("/readyz")
        counts = []
        for rows in (0, 1, 3000):
            records = [(SENDER, number, number, str(number), "x@example.com") for number in range(rows)]
            columns = ["sender_id", "account_id", "campaign_id", "isp", "recipient"]
            await owner.copy_records_to_table("messages", records=records, columns=columns)
            asked.clear()
            assert (await client.post(STATS, content=body)).status_code == 200
            found = questions(asked)
            # Looked up periodically for all requests: the valid tokens, and whether the queue is distributed.
            assert max(found.pop("tokens/valid.sql", 0), found.pop("queries/baseline.sql", 0)) <= 1
            counts.append(found.total())
    assert counts == [1, 1, 1]


async def test_a_failed_look_up_is_503_and_does_not_affect_the_next(
    client: httpx.AsyncClient, owner: Any, token: str
) -> None:
    for _ in range(2):
        assert await ask(client, token) == 200
        await owner.execute("ALTER TABLE queuestats.tokens RENAME TO away")
        assert await ask(client, "wrong") == 503
        await asyncio.sleep(0.9)
        answers = await asyncio.gather(*(ask(client, each) for each in [token, "wrong"] * 5))
        assert set(answers) == {503}
        await owner.execute("ALTER TABLE queuestats.away RENAME TO tokens")
        assert await ask(client, token) == 200
        assert await ask(client, "wrong") == 401


async def test_a_token_is_valid_only_with_exactly_its_bytes(client: httpx.AsyncClient, owner: Any, token: str) -> None:
    [stored] = await owner.fetch("SELECT encode(hash, 'hex') AS hash FROM queuestats.tokens")
    for wrong in (stored["hash"], token.upper(), token + "\u200b", f"{token}=", token[3:], "%", "' OR true --"):
        response = await client.post(STATS, content=body_of(Format.XML, token=wrong, id=SENDER))
        assert wrong not in check_error(response, 401, Format.XML)
