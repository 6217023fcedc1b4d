"""One release replaces another during requests: all responses are correct, none is an error, all instances are ready.

ROLLING_ANSWERS=10000 sets how many responses each test checks.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from alembic import command

from service.db import connect
from service.schema.contract import CONTRACT, contract_mismatch
from service.schema.migrate import pending_changes
from tests.cli.programs import Program
from tests.conftest import PATIENCE_SECONDS, TestDatabase
from tests.db.test_migrations import alembic
from tests.releases.checkouts import Release, release, this_release
from tests.releases.conftest import secret_of, settings_of
from tests.traffic import Traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ANSWERS = int(os.environ.get("ROLLING_ANSWERS", "300"))
# Functions that differ from those of this release, without a revision.
NEXT_FUNCTIONS = {
    f"sql/counters/{name}.sql": ("LANGUAGE", "/* next */ LANGUAGE") for name in ("read", "fold", "triggers", "proof")
}
CONTRACT_FILE = "service/schema/contract.py"


class Site:
    """A database and its instances."""

    def __init__(self, folder: Path, database: TestDatabase, stack: ExitStack) -> None:
        self.folder, self.database, self._stack = folder, database, stack
        self.instances: list[Program] = []

    def start(self, release: Release) -> str:
        """Starts another instance, and waits until it responds. Returns its address."""
        place = self.folder / f"instance-{len(self.instances)}"
        self.instances.append(self._stack.enter_context(release.serve(place, **settings_of(self.database))))
        self.instances[-1].wait_until_ready()
        return self.instances[-1].url

    async def run(self, release: Release, *arguments: str) -> str:
        return await asyncio.to_thread(release.run, *arguments, **settings_of(self.database))

    async def traffic(self, release: Release) -> Traffic:
        """Traffic on two instances of the release."""
        token = secret_of(await self.run(release, "token", "create", "tests", "--json"))
        urls = [await asyncio.to_thread(self.start, release) for _ in range(2)]
        for url in urls:
            assert await readiness(url) == ""
        return Traffic(self.database.owner_url, token, *urls)

    async def roll(self, traffic: Traffic, to: Release) -> None:
        """Replaces the instances one after the other, with responses in between."""
        for former in list(traffic.urls):
            new = await asyncio.to_thread(self.start, to)
            assert await readiness(new) == ""
            traffic.urls.append(new)
            await traffic.leave(former)
            (instance,) = (each for each in self.instances if each.url == former)
            assert await asyncio.to_thread(instance.stop) == 0
            await traffic.until_answers(ANSWERS // 6)


@pytest.fixture
def site(folder: Path, empty_database: TestDatabase) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(folder, empty_database, stack)


async def readiness(url: str) -> str:
    """The body of `/readyz`; empty if it is 200. The result is cached for a second."""
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE_SECONDS) as client:
        response = await client.get(f"{url}/readyz")
    return "" if response.status_code == 200 else response.text


def check(traffic: Traffic) -> None:
    assert (traffic.wrong, traffic.not_ready, traffic.failed_writes) == ([], [], [])
    assert traffic.answers == Counter({200: traffic.answers.total()})
    assert traffic.answers.total() >= ANSWERS


async def test_the_last_release_is_ready_and_correct_while_this_one_migrates_and_replaces_it(site: Site) -> None:
    old, new = release("last", site.folder), this_release(site.folder, {})
    await site.run(old, "migrate")
    async with await site.traffic(old) as traffic:
        await traffic.until_answers(ANSWERS // 6)
        await site.run(new, "migrate")
        await traffic.until_answers(ANSWERS // 6)
        await site.roll(traffic, new)
        await traffic.until_answers(ANSWERS - traffic.answers.total())
    check(traffic)


async def test_this_release_is_correct_on_the_database_of_the_last_one_or_reports_why_not_ready(site: Site) -> None:
    old, new = release("last", site.folder), this_release(site.folder, {})
    await site.run(old, "migrate")
    async with connect(site.database.service_url) as connection:
        mismatch = await contract_mismatch(connection)
    async with await site.traffic(old) as traffic:
        if mismatch:
            assert mismatch in await readiness(await asyncio.to_thread(site.start, new))
        else:
            await site.roll(traffic, new)
        await traffic.until_answers(ANSWERS - traffic.answers.total())
    check(traffic)


async def test_both_releases_are_ready_and_correct_after_a_change_of_functions(site: Site) -> None:
    """Forward and back: each release works with the functions of the other."""
    this, changed = this_release(site.folder, {}), this_release(site.folder / "next", NEXT_FUNCTIONS)
    await site.run(this, "migrate")
    async with await site.traffic(this) as traffic:
        assert "Functions of sql/counters/read.sql." in await site.run(changed, "migrate")
        await traffic.until_answers(ANSWERS // 6)
        await site.roll(traffic, changed)
        assert "Functions of sql/counters/read.sql." in await site.run(this, "migrate")
        await traffic.until_answers(ANSWERS - traffic.answers.total())
    check(traffic)


async def test_a_raised_contract_makes_unsupported_instances_not_ready(site: Site) -> None:
    raised = {CONTRACT_FILE: (f"\nCONTRACT = {CONTRACT}\n", f"\nCONTRACT = {CONTRACT + 1}\n")}
    this, newer = this_release(site.folder, {}), this_release(site.folder / "next", raised)
    await site.run(this, "migrate")
    url, newer_url = site.start(this), site.start(newer)
    assert f"contract {CONTRACT + 1}: the database has {CONTRACT}" in await readiness(newer_url)
    assert await readiness(url) == ""

    await site.run(newer, "migrate")
    await asyncio.sleep(1.1)
    assert [await readiness(each) for each in (url, newer_url)] == ["", ""]

    await site.run(this, "migrate")
    await asyncio.sleep(1.1)
    assert f"the database has {CONTRACT}" in await readiness(newer_url)


async def test_a_database_can_be_downgraded_to_the_last_release_during_writes(site: Site) -> None:
    """The instances serve again after the older `migrate`, and messages that were written until then are counted."""
    old, new = release("last", site.folder), this_release(site.folder, {})
    await site.run(old, "migrate")
    async with connect(site.database.owner_url) as connection:
        revision = await connection.fetchval("SELECT version_num FROM queuestats.alembic_version")
    await site.run(new, "migrate")
    traffic = await site.traffic(new)
    async with traffic:
        await traffic.until_answers(100)
        for each in list(traffic.urls):
            traffic.urls.append(await asyncio.to_thread(site.start, old))
            await traffic.leave(each)
        await alembic(site.database.owner_url, lambda config: command.downgrade(config, revision))
        await site.run(old, "migrate")
        await traffic.until_answers(100)
    assert traffic.wrong == []
    assert set(traffic.answers) <= {200, 503}
    assert "No difference" in await site.run(old, "verify")
    async with connect(site.database.owner_url) as connection:
        assert await pending_changes(connection) != []
