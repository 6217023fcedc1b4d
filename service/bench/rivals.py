"""Who takes part: our own server in its variants, and the rivals that are there. Each is a real process."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from service.bench.load import HOST, Target
from service.bench.questions import (
    Check,
    check_of,
    graphql_request,
    random_senders,
    row_of_graphql,
    row_of_json,
    row_of_xml,
    stats_request,
)
from service.bench.rounds import Contestant, Ratio
from service.bench.servers import free_port, listens, running, script_beside
from service.db import connect, statement
from service.errors import CommandError
from service.model import Format
from service.settings import Settings, as_environment, variable

SERVICE, XML, UNBATCHED, BARE = "service", "service, XML", "service, not batched", "bare Starlette"
NAIVE, POSTGRAPHILE = "FastAPI and a scan", "PostGraphile"
SERVICE_BIGGEST, NAIVE_BIGGEST = "service, biggest sender", "FastAPI and a scan, biggest sender"

# The setting that holds how many questions go into one round to the database.
BATCH_SETTING = "batch_queries"

# Longer than any run: what writes meanwhile is ended with it.
A_DAY_SECONDS = 86_400

# What the project wants of each; while messages are written, three quarters of it are enough.
RATIOS = (
    Ratio(SERVICE, BARE, 0.45),
    Ratio(SERVICE, UNBATCHED, 1.5),
    Ratio(SERVICE, POSTGRAPHILE, 2.5),
    Ratio(SERVICE_BIGGEST, NAIVE_BIGGEST, 300),
    Ratio(SERVICE, NAIVE),
    Ratio(XML, SERVICE, 0.7),
    Ratio(SERVICE, BARE, 1.5, of="tail", connections=32),
)


@dataclass(frozen=True, slots=True)
class Field:
    """What all are asked for, and where the rivals that do not come along are found."""

    settings: Settings
    token: str
    # Every sender with its messages, the biggest first.
    totals: Mapping[int, int]
    seed: int
    naive: Path | None = None
    postgraphile: Path | None = None


@contextmanager
def contestants(field: Field, *, is_still: bool) -> Iterator[list[Contestant]]:
    """Those that take part, their servers running; `is_still` says that nobody writes, so that totals are known."""
    asked = random_senders(list(field.totals), field.seed)
    biggest = [next(iter(field.totals))]
    totals = field.totals if is_still else None

    def right(senders: list[int]) -> Check:
        return check_of(row_of_json, senders, totals)

    as_json = _requests(field, Format.JSON, asked)
    with ExitStack() as stack:
        ours = stack.enter_context(_serve(field.settings))
        bare = stack.enter_context(_bare())
        found = [
            Contestant(SERVICE, Target(ours, as_json), right(asked)),
            Contestant(BARE, Target(bare, as_json), check_of(row_of_json, asked, None)),
            Contestant(XML, Target(ours, _requests(field, Format.XML, asked)), check_of(row_of_xml, asked, totals)),
        ]
        if BATCH_SETTING in {each.name for each in fields(Settings)}:
            unbatched = stack.enter_context(_serve(field.settings, {variable(BATCH_SETTING): "1"}))
            found.append(Contestant(UNBATCHED, Target(unbatched, as_json), right(asked)))
        if field.postgraphile:
            port = stack.enter_context(_postgraphile(field.postgraphile, field.settings))
            requests = tuple(map(graphql_request, asked))
            found.append(Contestant(POSTGRAPHILE, Target(port, requests), check_of(row_of_graphql, asked, totals)))
        if field.naive:
            port = stack.enter_context(_naive(field.naive, field.settings))
            of_biggest = _requests(field, Format.JSON, biggest)
            found += [
                Contestant(SERVICE_BIGGEST, Target(ours, of_biggest), right(biggest)),
                Contestant(NAIVE, Target(port, as_json), right(asked), stretch=2),
                Contestant(NAIVE_BIGGEST, Target(port, of_biggest), right(biggest), stretch=8),
            ]
        yield found


def postgraphile_version(folder: Path) -> str:
    cli = script_beside(folder, "node_modules", "postgraphile", "cli.js")
    told = subprocess.run(["node", cli, "--version"], capture_output=True, text=True, check=False)
    return told.stdout.strip()


def _requests(field: Field, format: Format, senders: list[int]) -> tuple[bytes, ...]:
    return tuple(stats_request(format, field.token, each) for each in senders)


@contextmanager
def _serve(settings: Settings, changed: Mapping[str, str] | None = None) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--host", HOST, "--port", str(port), "--workers", "1"]
    with running("The service", command, {**as_environment(settings), **(changed or {})}, partial(listens, port)):
        yield port


@contextmanager
def _bare() -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "service", "bench", "bare", "--host", HOST, "--port", str(port), "--workers", "1"]
    with running("The bare endpoint", command, {}, partial(listens, port)):
        yield port


@contextmanager
def _naive(script: Path, settings: Settings) -> Iterator[int]:
    script_beside(script.parent, script.name)
    if find_spec("fastapi") is None:
        raise CommandError("FastAPI is not installed; tests/load/README.md says how.")
    port = free_port()
    options = ["--host", HOST, "--port", str(port), "--no-access-log", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", f"{script.stem}:app", "--app-dir", str(script.parent), *options]
    with running("FastAPI", command, {"DATABASE_URL": settings.owner_url or ""}, partial(listens, port)):
        yield port


@contextmanager
def _postgraphile(folder: Path, settings: Settings) -> Iterator[int]:
    """As its documentation advises for production; it checks no token, which is in its favour."""
    cli = script_beside(folder, "node_modules", "postgraphile", "cli.js")
    port = free_port()
    options = ["--schema", "postgraphile_rival", "--host", HOST, "--port", str(port), "--disable-graphiql"]
    options += ["--disable-query-log", "--disable-default-mutations", "--connection", settings.owner_url or ""]
    production = {"NODE_ENV": "production", "GRAPHILE_TURBO": "1"}
    with running("PostGraphile", ["node", cli, *options], production, partial(listens, port)):
        yield port


@contextmanager
def simulation(field: Field, messages_per_second: int) -> Iterator[None]:
    """Somebody writes meanwhile, from now on. Raises CommandError where that ends before it is told to."""
    url = field.settings.owner_url or ""
    before = asyncio.run(_newest(url))
    options = ["--rate", str(messages_per_second), "--senders", str(len(field.totals)), "--seconds", str(A_DAY_SECONDS)]
    command = [sys.executable, "-m", "service", "simulate", *options]
    with running("simulate", command, as_environment(field.settings), lambda: asyncio.run(_newest(url)) > before):
        yield


async def _newest(url: str) -> int:
    async with connect(url) as connection:
        newest: int = await connection.fetchval(statement("bench/newest").sql)
    return newest
