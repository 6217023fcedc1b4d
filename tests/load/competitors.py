"""The variants of this service and the competitors that `python -m tests.load.http` measures."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from service.model import Format
from tests.api.wire import STATS, body_of
from tests.clusters import free_port
from tests.load.processes import ROOT, Checkout, running

STATUSES = ("new", "proc", "retry", "hold")
SERVICE, XML, UNBATCHED, BARE = "service", "service, XML", "service, not batched", "bare Starlette"
NAIVE, POSTGRAPHILE, BASELINE = "FastAPI and a scan", "PostGraphile", "service of the other checkout"
SERVICE_BIGGEST, NAIVE_BIGGEST = "service, biggest sender", "FastAPI and a scan, biggest sender"
# The ratios of each round: the rate of the first variant to the rate of the second.
RATIOS = (
    (SERVICE, BARE),
    (SERVICE, BASELINE),
    (SERVICE, UNBATCHED),
    (SERVICE, POSTGRAPHILE),
    (SERVICE, NAIVE),
    (SERVICE_BIGGEST, NAIVE_BIGGEST),
    (XML, SERVICE),
)
Counts = Mapping[str, int]


@dataclass(frozen=True)
class Variant:
    """A server, and the bodies of its requests in turn. `senders` are the senders of the bodies, in order.

    `read` parses a response into counts. It is None if the responses are not those of the queue. `process_id` is the
    process of the server.
    """

    name: str
    url: str
    bodies: Sequence[str]
    senders: Sequence[int]
    read: Callable[[bytes], Counts] | None
    process_id: int


@dataclass(frozen=True)
class Field:
    """The senders of the requests in turn, the biggest sender, and the variants beside the service."""

    checkout: Checkout
    owner_url: str
    token: str
    senders: Sequence[int]
    biggest: int
    postgraphile: Path | None = None
    baseline: tuple[Checkout, str] | None = None


@contextmanager
def variants(field: Field) -> Iterator[list[Variant]]:
    """All variants, with running servers."""
    senders, biggest = field.senders, [field.biggest]
    as_json, as_xml = (_bodies(each, field.token, senders) for each in Format)
    of_biggest = _bodies(Format.JSON, field.token, biggest)
    with ExitStack() as stack:
        service, service_id = stack.enter_context(_served(field.checkout))
        unbatched, unbatched_id = stack.enter_context(_served(field.checkout, QUEUESTATS_BATCH_QUERIES="1"))
        bare, bare_id = stack.enter_context(_uvicorn("bare_starlette"))
        naive, naive_id = stack.enter_context(_uvicorn("naive_fastapi", DATABASE_URL=field.owner_url))
        found = [
            Variant(SERVICE, service, as_json, senders, read_json, service_id),
            Variant(BARE, bare, as_json, senders, None, bare_id),
            Variant(XML, service, as_xml, senders, read_xml, service_id),
            Variant(UNBATCHED, unbatched, as_json, senders, read_json, unbatched_id),
            Variant(NAIVE, naive, as_json, senders, read_json, naive_id),
            Variant(SERVICE_BIGGEST, service, of_biggest, biggest, read_json, service_id),
            Variant(NAIVE_BIGGEST, naive, of_biggest, biggest, read_json, naive_id),
        ]
        if field.postgraphile:
            url, process_id = stack.enter_context(_postgraphile(field.postgraphile, field.owner_url))
            bodies = [_graphql(sender_id) for sender_id in senders]
            found.insert(1, Variant(POSTGRAPHILE, url, bodies, senders, read_graphql, process_id))
        if field.baseline:
            checkout, token = field.baseline
            url, process_id = stack.enter_context(_served(checkout))
            bodies = _bodies(Format.JSON, token, senders)
            found.insert(1, Variant(BASELINE, url, bodies, senders, read_json, process_id))
        yield found


def read_json(body: bytes) -> Counts:
    [row] = json.loads(body)["data"]
    return _counts(row)


def read_xml(body: bytes) -> Counts:
    row = ElementTree.fromstring(body).find("data")
    assert row is not None, "a total always has its row"
    return _counts({each.tag: each.text for each in row})


def read_graphql(body: bytes) -> Counts:
    return _counts(json.loads(body)["data"]["queueTotal"])


def _counts(row: Mapping[str, Any]) -> Counts:
    """Raises ValueError if the total does not add up."""
    counts = {status: int(row[status]) for status in STATUSES}
    if sum(counts.values()) != int(row["total"]):
        raise ValueError(f"the total does not add up: {row}")
    return counts


def _bodies(format: Format, token: str, senders: Sequence[int]) -> list[str]:
    return [body_of(format, token=token, id=each, group="total").decode() for each in senders]


def _graphql(sender_id: int) -> str:
    query = "query($id: BigInt!) { queueTotal(senderId: $id) { hold new proc retry total } }"
    return json.dumps({"query": query, "variables": {"id": str(sender_id)}})


def _stats_url(port: int) -> str:
    return f"http://127.0.0.1:{port}{STATS}"


@contextmanager
def _served(checkout: Checkout, **variables: str) -> Iterator[tuple[str, int]]:
    """The address and the process id."""
    with checkout.serving_process(**variables) as (port, process_id):
        yield _stats_url(port), process_id


@contextmanager
def _uvicorn(module: str, **variables: str) -> Iterator[tuple[str, int]]:
    """An application of this folder, with the uvicorn, the event loop and the HTTP parser of the service."""
    port = free_port()
    options = ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", f"tests.load.{module}:app", *options]
    with running(command, port, variables) as process_id:
        yield _stats_url(port), process_id


@contextmanager
def _postgraphile(folder: Path, database_url: str) -> Iterator[tuple[str, int]]:
    """PostGraphile with the settings that its documentation recommends for production. It checks no token."""
    port = free_port()
    command = ["node", str(folder / "node_modules/postgraphile/cli.js"), "--schema", "competitor", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--disable-graphiql", "--disable-query-log", "--disable-default-mutations"]
    command += ["--connection", database_url]
    with running(command, port, {"NODE_ENV": "production", "GRAPHILE_TURBO": "1"}) as process_id:
        yield f"http://127.0.0.1:{port}/graphql", process_id


def create_competitor_schema(checkout: Checkout) -> None:
    """Creates the function that PostGraphile serves."""
    checkout.run("psql", "--quiet", "-v", "ON_ERROR_STOP=1", "-f", str(ROOT / "tests/load/postgraphile.sql"))
