"""Traces: a span for each request and each statement, and the links between them."""

import asyncio
import sys
from collections.abc import Iterator
from contextvars import copy_context

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.errors import CommandError
from service.model import Format
from service.telemetry import origin
from service.telemetry.origin import Origin, origins
from tests.api.wire import STATS, body_of


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    origin.use(provider.get_tracer("tests"))
    yield exporter
    origin.use(None)


async def test_a_statement_is_linked_with_all_its_requests(
    client: httpx.AsyncClient, token: str, exporter: InMemorySpanExporter
) -> None:
    content = body_of(Format.JSON, token=token, id=119)
    await asyncio.gather(*(client.post(STATS, content=content) for _ in range(8)))
    spans = exporter.get_finished_spans()
    requests = {span.context.span_id: span for span in spans if span.name == "stats"}
    assert len(requests) == 8
    assert {(span.attributes or {})["http.response.status_code"] for span in requests.values()} == {200}
    statements = [span for span in spans if span.name == "sql/queries/from_counters/total.sql"]
    linked = [link.context.span_id for span in statements for link in span.links]
    assert sorted(linked) == sorted(requests)


async def test_requests_with_equal_ids_are_linked_separately(
    client: httpx.AsyncClient, token: str, exporter: InMemorySpanExporter
) -> None:
    """A client may reuse an id while its first request runs."""
    content, headers = body_of(Format.JSON, token=token, id=119), {"X-Request-Id": "7f3a"}
    await asyncio.gather(*(client.post(STATS, content=content, headers=headers) for _ in range(4)))
    spans = exporter.get_finished_spans()
    requests = sorted(span.context.span_id for span in spans if span.name == "stats")
    linked = [link.context.span_id for span in spans for link in span.links if span.name.endswith("/total.sql")]
    assert len(requests) == 4
    assert sorted(linked) == requests


def test_the_end_of_one_request_keeps_the_link_of_another_with_the_same_id(exporter: InMemorySpanExporter) -> None:
    one, other = origin.begin_request("7f3a"), origin.begin_request("7f3a")
    origin.end_request(one, "stats", 200)

    def run_statement() -> None:
        origins.set((Origin("7f3a", other),))
        with origin.statement_span("queries/x"):
            pass

    copy_context().run(run_statement)
    *_, statement = exporter.get_finished_spans()
    assert other is not None
    assert [link.context for link in statement.links] == [other.get_span_context()]


async def test_they_are_off_by_default(client: httpx.AsyncClient, token: str) -> None:
    assert origin.begin_request("x") is None
    assert (await client.post(STATS, content=body_of(Format.JSON, token=token, id=119))).status_code == 200


def test_the_error_without_the_extra_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(CommandError, match=r"queuestats\[otel\]"):
        origin.configure_traces()
