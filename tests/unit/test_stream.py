"""Streams of reports without a database: which events a subscriber receives, and when a stream ends."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from sse_starlette import ServerSentEvent

from service.access.budgets import Unsent
from service.access.cache import Tokens
from service.errors import Forbidden, ServiceError, TimedOut, Unauthorized, Unavailable
from service.http.responses import encode_event
from service.model import Ids, Presentation, Scope, StatsQuery
from service.queue.coalescer import Outcome
from service.queue.live import Event, Followed, Streams, Subscriber
from service.queue.names import Names
from service.queue.stats import Statistics
from service.reports import StatsReport, StatsRow
from service.wire.rendering.rows import Shape

FOLLOWED = Followed(StatsQuery(119))
FAST_MS, NEVER_MS = 1, 3_600_000
OLD_SECONDS = 1000.0


class Queue:
    """The statistics of one queue: a total that the test sets, and how long ago its snapshot was taken."""

    def __init__(self) -> None:
        self.total = 0
        self.rows_before: list[StatsRow] = []
        self.queries: set[StatsQuery] = set()
        self.age_seconds = 0.0
        self.error: Exception | None = None
        self.reads = 0
        self.has_read = asyncio.Event()
        self.in_flight = self.most_in_flight = 0

    async def run(self, query: StatsQuery) -> Outcome[StatsReport]:
        self.queries.add(query)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        self.reads += 1
        self.has_read.set()
        if self.error is not None:
            raise self.error
        row = StatsRow(0, 0, 0, "", self.total, 0, 0, self.total)
        return Outcome(StatsReport([*self.rows_before, row]), 0.0, self.age_seconds)

    async def wait_for_reads(self, count: int = 3) -> None:
        """Waits until the report of at least one read that begins after this call is published."""
        for _ in range(count):
            self.has_read.clear()
            await self.has_read.wait()


class NamedSender:
    """Has only names of senders, for queries with names."""

    async def shape(self, presentation: Presentation, rows: Any, sender_id: int | None = None) -> Shape | None:
        return Shape(names={119: "Acme"}, sender_id=sender_id) if presentation.has_names and rows else None


class Secrets:
    """Has the errors that the check of a secret raises."""

    def __init__(self) -> None:
        self.errors: dict[str, ServiceError] = {}
        self.checked: set[tuple[str, Scope]] = set()
        self.has_raised = asyncio.Event()

    async def check(self, secret: str, scope: Scope) -> None:
        self.checked.add((secret, scope))
        if secret in self.errors:
            self.has_raised.set()
            raise self.errors[secret]


class Service:
    """The streams and their dependencies."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.secrets = Secrets()
        self.is_draining = False
        self.unsent = Unsent(limit_bytes=1 << 20, token_share_bytes=1 << 19, send_timeout_ms=1000)
        self.streams = Streams(
            cast(Statistics, self.queue),
            cast(Names, NamedSender()),
            cast(Tokens, self.secrets),
            lambda: self.is_draining,
            encode_event,
        )

    @asynccontextmanager
    async def follow(
        self, interval_ms: int = FAST_MS, secret: str = "secret", last_event_id: str = "", first: Event | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        first = first or await self.streams.read(FOLLOWED)
        subscriber = Subscriber(secret, interval_ms / 1000, self.unsent.of("tests"), last_event_id)
        events = self.streams.follow(FOLLOWED, subscriber, first)
        try:
            yield events
        finally:
            await cast(Any, events).aclose()


def fields_of(event: bytes) -> dict[str, str]:
    lines = event.decode().splitlines()
    return dict(line.split(": ", 1) for line in lines if line)


def data_of(event: bytes) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(fields_of(event)["data"])
    return data


async def total(events: AsyncIterator[bytes]) -> int:
    """The total of the next event, which must be a report."""
    event = await anext(events)
    assert fields_of(event)["event"] == "report"
    found: int = data_of(event)["data"][0]["total"]
    return found


def open_streams() -> float | None:
    return REGISTRY.get_sample_value("queuestats_streams")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def watched(service: Service) -> AsyncIterator[Service]:
    """Checks its tokens repeatedly."""
    watching = asyncio.create_task(service.streams.watch())
    yield service
    watching.cancel()


async def test_an_event_is_the_report_with_the_time_of_its_snapshot(service: Service) -> None:
    before = datetime.now(UTC)
    async with service.follow() as events:
        event = await anext(events)
    row = {"account_id": 0, "campaign_id": 0, "hold": 0, "isp": "", "new": 0, "proc": 0, "retry": 0, "total": 0}
    data = data_of(event)
    assert before <= datetime.fromisoformat(data.pop("taken_at")) <= datetime.now(UTC)
    assert data == {"data": [row], "error": 0, "error_text": "Successful operation"}
    assert set(fields_of(event)) == {"id", "event", "data"}
    assert event.endswith(b"\r\n\r\n")


async def test_the_time_of_a_snapshot_is_the_beginning_of_its_statement(service: Service) -> None:
    service.queue.age_seconds = OLD_SECONDS
    before, before_monotonic = time.time(), time.monotonic()
    event = await service.streams.read(FOLLOWED)
    after, after_monotonic = time.time(), time.monotonic()
    # Times are rendered with microseconds.
    taken_at = datetime.fromisoformat(data_of(event.content)["taken_at"]).timestamp() + OLD_SECONDS
    assert before - 1e-5 <= taken_at <= after + 1e-5
    assert before_monotonic <= event.began_at + OLD_SECONDS <= after_monotonic


async def test_a_report_has_the_same_id_whenever_it_is_read(service: Service) -> None:
    first, second = [await service.streams.read(FOLLOWED) for _ in range(2)]
    service.queue.total = 1
    third = await service.streams.read(FOLLOWED)
    assert first.id == second.id == fields_of(first.content)["id"]
    assert third.id != first.id
    assert len(third.id) == 32
    assert service.queue.queries == {FOLLOWED.query}


async def test_a_report_that_is_written_in_another_way_has_another_id(service: Service) -> None:
    ways = [Presentation(), Presentation(ids=Ids.STRING), Presentation(has_names=True)]
    events = [await service.streams.read(Followed(StatsQuery(119), way)) for way in ways]
    assert len({event.id for event in events}) == 3


@pytest.mark.parametrize("count", range(5))
async def test_the_id_of_a_long_report_depends_on_its_last_row(
    service: Service, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr("service.queue.live.PACKED_ROWS", 2)
    service.queue.rows_before = [StatsRow(1, 0, 0, "", 0, 0, 0, 0)] * count
    first = await service.streams.read(FOLLOWED)
    service.queue.total = 1
    assert (await service.streams.read(FOLLOWED)).id != first.id


async def test_a_report_with_names_has_the_name_of_the_sender(service: Service) -> None:
    with_names = Followed(StatsQuery(119), Presentation(has_names=True))
    event = await service.streams.read(with_names)
    assert data_of(event.content)["data"][0]["sender_name"] == "Acme"


async def test_an_event_is_sent_only_when_the_report_has_changed(service: Service) -> None:
    async with service.follow() as events:
        assert await total(events) == 0
        for count in (1, 2):
            following = asyncio.create_task(total(events))
            await service.queue.wait_for_reads()
            assert not following.done(), "an equal report is not sent again"
            service.queue.total = count
            assert await following == count


async def test_a_report_from_an_older_snapshot_than_the_newest_one_is_left_out(service: Service) -> None:
    async with service.follow() as events:
        assert await total(events) == 0
        following = asyncio.create_task(total(events))
        service.queue.total, service.queue.age_seconds = 1, OLD_SECONDS
        await service.queue.wait_for_reads()
        assert not following.done()
        service.queue.total, service.queue.age_seconds = 2, 0.0
        assert await following == 2


async def test_a_subscriber_that_joins_with_an_older_report_receives_the_newest(service: Service) -> None:
    older = await service.streams.read(FOLLOWED)
    service.queue.total = 1
    async with service.follow() as first, service.follow(first=older) as second:
        assert [await total(first), await total(second)] == [1, 1]


async def test_the_newer_report_of_a_subscriber_that_joins_is_sent_to_the_others(service: Service) -> None:
    async with service.follow(NEVER_MS) as first:
        assert await total(first) == 0
    async with service.follow(NEVER_MS, last_event_id=(await service.streams.read(FOLLOWED)).id) as first:
        following = asyncio.create_task(total(first))
        await asyncio.sleep(0)
        service.queue.total = 1
        async with service.follow(NEVER_MS) as second:
            assert await total(second) == 1
            assert await following == 1


async def test_a_client_that_has_the_report_receives_the_next_one(service: Service) -> None:
    known = await service.streams.read(FOLLOWED)
    async with service.follow(last_event_id=known.id) as events:
        following = asyncio.create_task(total(events))
        await service.queue.wait_for_reads()
        assert not following.done()
        service.queue.total = 1
        assert await following == 1


async def test_two_events_of_a_stream_are_its_interval_apart(service: Service) -> None:
    interval_ms = 50
    async with service.follow() as fast, service.follow(interval_ms) as slow:
        await anext(fast)
        await anext(slow)
        sent_at = time.monotonic()
        for count in (1, 2, 3):
            service.queue.total = count
            assert await total(fast) == count
        assert await total(slow) == 3, "a slow reader skips events"
        assert time.monotonic() - sent_at >= interval_ms / 1000


async def test_all_subscribers_of_a_query_share_its_statements(service: Service) -> None:
    subscriptions = [service.follow() for _ in range(10)]
    streams = [await subscription.__aenter__() for subscription in subscriptions]
    assert await asyncio.gather(*map(total, streams)) == [0] * 10
    service.queue.most_in_flight = 0
    await service.queue.wait_for_reads()
    assert service.queue.most_in_flight == 1
    for subscription in subscriptions:
        await subscription.__aexit__(None, None, None)


async def test_a_query_runs_only_while_it_has_a_subscriber(service: Service) -> None:
    async with service.follow() as first:
        await total(first)
        async with service.follow() as second:
            await total(second)
        await service.queue.wait_for_reads()
    reads = service.queue.reads
    for _ in range(20):
        await asyncio.sleep(FAST_MS / 1000)
    assert service.queue.reads == reads
    service.queue.total = 1
    async with service.follow() as third:
        assert await total(third) == 1
        service.queue.total = 2
        assert await total(third) == 2


async def test_open_streams_are_counted(service: Service) -> None:
    before = open_streams()
    assert before is not None
    async with service.follow() as first, service.follow() as second:
        await anext(first)
        await anext(second)
        assert open_streams() == before + 2
    assert open_streams() == before


async def test_an_outage_causes_one_event_with_the_error_and_then_the_report(service: Service) -> None:
    async with service.follow() as events:
        assert await total(events) == 0
        service.queue.error = Unavailable()
        error = await anext(events)
        assert fields_of(error)["event"] == "error"
        assert data_of(error) == {"error": 503, "error_text": "Service unavailable"}
        following = asyncio.ensure_future(anext(events))
        await service.queue.wait_for_reads()
        assert not following.done()
        service.queue.error = TimedOut()
        assert data_of(await following)["error"] == 504, "another error is another event"
        service.queue.error = None
        assert await total(events) == 0


async def test_a_fault_is_an_internal_error_that_the_log_has(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async with service.follow() as events:
        assert await total(events) == 0
        service.queue.error = ZeroDivisionError()
        assert data_of(await anext(events)) == {"error": 500, "error_text": "Internal error"}
        service.queue.error = None
        assert await total(events) == 0
    assert caplog.messages[0].startswith("fault to=stream error=builtins.ZeroDivisionError at ")


@pytest.mark.parametrize("error", [Unauthorized(": revoked"), Forbidden("no scope")])
@pytest.mark.parametrize(("revoked", "valid"), [("mine", "other"), ("other", "mine")])
async def test_a_token_that_is_no_longer_valid_ends_its_streams_with_the_error(
    watched: Service, error: ServiceError, revoked: str, valid: str
) -> None:
    async with watched.follow(secret=revoked) as mine, watched.follow(secret=valid) as other:
        assert [await total(mine), await total(other)] == [0, 0]
        watched.secrets.errors[revoked] = error
        assert data_of(await anext(mine)) == {"error": error.code, "error_text": error.text}
        assert await anext(mine, None) is None
        watched.queue.total = 1
        assert await total(other) == 1
    assert watched.secrets.checked == {("mine", Scope.STATS), ("other", Scope.STATS)}


async def test_a_failed_check_of_a_token_ends_no_stream(watched: Service) -> None:
    async with watched.follow() as events:
        assert await total(events) == 0
        watched.secrets.errors["secret"] = Unavailable()
        await watched.secrets.has_raised.wait()
        watched.queue.total = 1
        assert await total(events) == 1
        watched.secrets.errors["secret"] = Unauthorized()
        assert data_of(await anext(events))["error"] == 401, "the next check ends it"


async def test_the_token_of_a_stream_that_has_ended_is_not_checked_any_more(watched: Service) -> None:
    async with watched.follow(secret="mine") as mine, watched.follow(secret="other") as other:
        assert [await total(mine), await total(other)] == [0, 0]
        await cast(Any, mine).aclose()
        watched.secrets.errors |= {"mine": Unauthorized(), "other": Unauthorized()}
        assert await anext(other, None)
    assert watched.secrets.checked <= {("other", Scope.STATS)}


async def test_a_service_that_drains_ends_all_streams_without_an_error(watched: Service) -> None:
    async with watched.follow(NEVER_MS) as first, watched.follow(secret="other") as second:
        assert [await total(first), await total(second)] == [0, 0]
        watched.is_draining = True
        assert [await anext(first, None), await anext(second, None)] == [None, None]


async def test_an_event_waits_while_too_many_bytes_are_unread_and_the_newest_one_follows(service: Service) -> None:
    other = service.unsent.of("tests")
    other.hold(1 << 19)
    async with service.follow() as events:
        following = asyncio.create_task(total(events))
        await service.queue.wait_for_reads()
        assert not following.done()
        service.queue.total = 1
        await service.queue.wait_for_reads()
        other.release()
        assert await following == 1
    assert service.unsent.held_bytes == 0


@pytest.mark.parametrize("id_", ["an-id", None])
def test_an_event_is_written_as_the_library_writes_it(id_: str | None) -> None:
    text = '{"isp":"Größe\u2028"}'
    expected = ServerSentEvent(text, event="report", id=id_).encode()
    assert encode_event("report", text.encode(), id_) == expected


async def test_an_event_is_sent_in_slices(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.queue.live.SLICE_BYTES", 100)
    async with service.follow(NEVER_MS) as events:
        slices = [await anext(events)]
        while not slices[-1].endswith(b"\r\n\r\n"):
            slices.append(await anext(events))
    assert {len(piece) for piece in slices[:-1]} == {100}
    assert data_of(b"".join(slices))["data"][0]["total"] == 0


async def test_an_unchanged_report_is_not_rendered_again(service: Service) -> None:
    async with service.follow(NEVER_MS) as events:
        assert await total(events) == 0
        first, second = await service.streams.read(FOLLOWED), await service.streams.read(FOLLOWED)
        assert first.content is second.content
        assert first.began_at < second.began_at, "the time until which it is the newest one has advanced"
        service.queue.total = 1
        assert (await service.streams.read(FOLLOWED)).id != first.id


async def test_a_sign_of_life_has_the_time_until_which_the_report_is_the_newest_one(service: Service) -> None:
    assert service.streams.sign_of_life(FOLLOWED) == "no report"
    service.queue.age_seconds = OLD_SECONDS
    before = time.time()
    async with service.follow(NEVER_MS) as events:
        assert await total(events) == 0
        words, _, moment = service.streams.sign_of_life(FOLLOWED).rpartition(" ")
    after = time.time()
    as_of = datetime.fromisoformat(moment)
    assert words == "as of"
    assert as_of.tzinfo == UTC
    # The two clocks are not read at the same moment, and the time has microseconds.
    assert before - 0.01 <= as_of.timestamp() + OLD_SECONDS <= after + 0.01


async def test_a_sign_of_life_has_no_time_while_the_newest_event_is_an_error(service: Service) -> None:
    async with service.follow() as events:
        assert await total(events) == 0
        service.queue.error = Unavailable()
        assert data_of(await anext(events))["error"] == 503
        assert service.streams.sign_of_life(FOLLOWED) == "no report"
