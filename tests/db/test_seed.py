"""The data set that `seed` writes, and the reasons to refuse it."""

import hashlib
from collections import Counter
from itertools import groupby
from typing import Any

import asyncpg
import pytest

from service.db import connect
from service.errors import CommandError
from service.workbench.seed import AS_OF, Profile, SeedPlan, seed
from tests.conftest import TestDatabase

COLUMNS = (
    "id, sender_id, account_id, campaign_id, isp, status, attempts, recipient,"
    " extract(epoch FROM created_at)::text AS created_at, extract(epoch FROM next_attempt_at)::text AS next_attempt_at"
)
SMALL = SeedPlan(3000, 20)
CHUNK_MESSAGES = "service.workbench.seed.CHUNK_MESSAGES"


@pytest.fixture
async def disposable(owner: Any, database: TestDatabase) -> Any:
    """A connection of the owner to a database that is marked as disposable."""
    await owner.execute(f"COMMENT ON DATABASE {database.name} IS 'queuestats: disposable'")
    return owner


async def rows(connection: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.fetch(f"SELECT {COLUMNS} FROM messages ORDER BY id")]


async def fill(connection: Any, plan: SeedPlan, **options: Any) -> float:
    return await seed(connection, plan, **options)


async def test_the_rows_are_the_same_on_every_version_of_postgresql(disposable: Any) -> None:
    await fill(disposable, SMALL)
    written = repr(await rows(disposable)).encode()
    assert hashlib.sha256(written).hexdigest() == DIGEST_OF_SMALL


async def test_the_rows_do_not_depend_on_chunks_settings_or_an_earlier_use(
    disposable: Any, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(disposable, SMALL)
    expected = await rows(disposable)
    odd = {
        "TimeZone": "America/St_Johns",
        "DateStyle": "SQL, DMY",
        "IntervalStyle": "iso_8601",
        "enable_nestloop": "off",
    }
    connection = await asyncpg.connect(database.owner_url, server_settings=odd)
    monkeypatch.setattr(CHUNK_MESSAGES, 100)
    await fill(connection, SMALL, replace=True)
    await connection.close()
    assert await rows(disposable) == expected


async def test_another_seed_gives_other_rows(disposable: Any) -> None:
    await fill(disposable, SMALL)
    first = await rows(disposable)
    await fill(disposable, SeedPlan(3000, 20, seed=2), replace=True)
    second = await rows(disposable)
    for column in range(1, 9):
        assert [row[column] for row in first] != [row[column] for row in second]


async def test_ids_follow_the_order_of_arrival_and_later_messages_get_higher_ids(disposable: Any) -> None:
    await disposable.execute("INSERT INTO messages (sender_id, recipient) VALUES (1, 'someone@example.com')")
    await disposable.execute("DELETE FROM messages")
    await fill(disposable, SMALL)
    arrived = await disposable.fetch("SELECT id FROM messages ORDER BY created_at, id")
    assert [row["id"] for row in arrived] == list(range(1, 3001))
    following = "INSERT INTO messages (sender_id, recipient) VALUES (1, 'someone@example.com') RETURNING id"
    assert await disposable.fetchval(following) == 3001


async def test_sender_119_has_only_the_documented_example_and_its_account(disposable: Any) -> None:
    await fill(disposable, SeedPlan(45_000, 150))
    found = await disposable.fetch(
        "SELECT sender_id, account_id, campaign_id, status FROM messages"
        " WHERE sender_id = 119 OR account_id = 306 OR campaign_id IN (4591, 4914)"
    )
    assert Counter(tuple(row) for row in found) == {
        (119, 306, 4591, "new"): 100,
        (119, 306, 4591, "proc"): 100,
        (119, 306, 4914, "hold"): 80,
        (119, 306, 4914, "new"): 10,
        (119, 306, 4914, "proc"): 10,
        (119, 306, 4914, "retry"): 40,
    }
    sizes = Counter(row["sender_id"] for row in await disposable.fetch("SELECT sender_id FROM messages"))
    assert [sender for sender, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))] == list(range(1, 151))
    assert (sum(sizes.values()), len(sizes)) == (45_000, 150)


async def test_attempts_and_times_fit_the_status(disposable: Any) -> None:
    await fill(disposable, SeedPlan(20_000, 1, profile=Profile.SINGLE))
    found = await disposable.fetch("SELECT status, attempts, created_at, next_attempt_at FROM messages")
    assert {row["status"] for row in found} == {"new", "proc", "retry", "hold"}
    for status, attempts, created_at, next_attempt_at in found:
        assert created_at <= AS_OF
        assert (attempts > 0) if status in ("proc", "retry") else (attempts == 0 or status == "hold")
        if attempts == 0:
            assert next_attempt_at == created_at
        elif status == "proc":
            assert created_at <= next_attempt_at <= AS_OF
        else:
            assert next_attempt_at > AS_OF


async def test_the_rest_of_old_mailings_is_in_retry_or_on_hold(disposable: Any) -> None:
    await fill(disposable, SeedPlan(20_000, 1, profile=Profile.SINGLE))
    statuses = [row["status"] for row in await disposable.fetch("SELECT status FROM messages ORDER BY id")]
    oldest, newest = Counter(statuses[:1000]), Counter(statuses[-5000:])
    assert oldest["retry"] + oldest["hold"] > 0.85 * 1000
    assert newest["new"] + newest["proc"] > 0.6 * 5000


async def test_isps_vary_message_by_message_with_gmail_ahead(disposable: Any) -> None:
    await fill(disposable, SeedPlan(20_000, 100))
    isps = [row["isp"] for row in await disposable.fetch("SELECT isp FROM messages ORDER BY id")]
    shares = Counter(isps)
    assert len(shares) == 13
    assert shares.most_common(1)[0][0] == "Gmail"
    assert 0.38 < shares["Gmail"] / len(isps) < 0.42
    assert 0.01 < shares[""] / len(isps) < 0.03
    assert sum(1 for _ in groupby(isps)) > 0.7 * len(isps)


async def test_most_adjacent_messages_have_the_same_sender_account_and_campaign(disposable: Any) -> None:
    await fill(disposable, SeedPlan(50_000, 100))
    found = await disposable.fetch("SELECT sender_id, account_id, campaign_id FROM messages ORDER BY id")
    assert sum(1 for _ in groupby(found)) < len(found) / 50


async def test_recipients_are_in_reserved_domains_only(disposable: Any) -> None:
    await fill(disposable, SMALL)
    recipients = [row["recipient"] for row in await disposable.fetch("SELECT recipient FROM messages")]
    assert {each.partition("@")[2] for each in recipients} == {"example.com", "example.net", "example.org"}
    assert len(set(recipients)) > 0.999 * len(recipients)


async def test_progress_moves_by_chunks_and_ends_at_the_plan(disposable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    progress: list[int] = []
    monkeypatch.setattr(CHUNK_MESSAGES, 500)
    await seed(disposable, SMALL, progress.append)
    assert progress == sorted(set(progress))
    assert len(progress) >= 4
    assert progress[-1] == 3000


async def test_a_database_that_is_not_marked_is_refused(owner: Any, database: TestDatabase) -> None:
    with pytest.raises(CommandError, match=rf"{database.name} is not marked disposable.*COMMENT ON DATABASE"):
        await fill(owner, SMALL, replace=True)
    assert await rows(owner) == []


async def test_a_queue_with_messages_is_refused_and_kept(disposable: Any) -> None:
    await disposable.execute("INSERT INTO messages (sender_id, recipient) VALUES (7, 'someone@example.com')")
    before = await rows(disposable)
    with pytest.raises(CommandError, match="not empty"):
        await fill(disposable, SMALL)
    assert await rows(disposable) == before
    await fill(disposable, SMALL, replace=True)
    assert len(await rows(disposable)) == 3000


@pytest.mark.parametrize("replace", [False, True])
async def test_an_interrupted_run_does_not_change_the_queue(
    disposable: Any, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    if replace:
        await fill(disposable, SeedPlan(50, 5, seed=9))
    before = await rows(disposable)

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(CHUNK_MESSAGES, 500)
    with pytest.raises(KeyboardInterrupt):
        await seed(disposable, SMALL, interrupt, replace=replace)
    assert await rows(disposable) == before


async def test_a_database_without_the_table_is_an_error_in_a_sentence(disposable: Any, database: TestDatabase) -> None:
    await disposable.execute("DROP TABLE messages CASCADE")
    with pytest.raises(CommandError, match="The database is not migrated"):
        async with connect(database.owner_url) as connection:
            await fill(connection, SMALL)


# Depends only on the data set. After a change here, figures cannot be compared with earlier ones.
DIGEST_OF_SMALL = "1eae588f277ec00aa0e14c320748f1eb26402406e8b5603ddc90c60a5ed02948"
