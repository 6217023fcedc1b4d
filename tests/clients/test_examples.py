"""docs/clients.md: each example prints its documented output, if its tool is installed."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.api.wire import address_of
from tests.clients.conftest import NODE, TYPESCRIPT, Asked

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "clients.md").read_text("utf-8")
# A section, its example, and its output. `…` is any text within a line.
LINES = r"((?:(?!```).*\n)+)"
EXAMPLE = re.compile(rf"^## (.+)$|^```(\w+)\n{LINES}```\n\n```text\n{LINES}```$", re.MULTILINE)
REPEATS = re.compile(r"--retry|retry-after", re.IGNORECASE)
BODY = b'{"error":503,"error_text":"Service unavailable"}'
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 0\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
PATIENCE_SECONDS = 120


class Example(NamedTuple):
    section: str
    language: str
    code: str
    output: str


class Tool(NamedTuple):
    """`commands` run the file of an example. `missing` is the reason why they can't."""

    file: str
    commands: Callable[[str], list[list[str]]]
    missing: str | None


def needs(*programs: str) -> str | None:
    return next((f"there is no {program}" for program in programs if shutil.which(program) is None), None)


TOOLS = {
    "sh": Tool("example.sh", lambda file: [["bash", "-eu", file]], needs("bash", "curl")),
    "python": Tool("example.py", lambda file: [[sys.executable, "-W", "error", file]], None),
    "typescript": Tool("example.mts", lambda file: [[*TYPESCRIPT, file], ["node", file.replace(".mts", ".mjs")]], NODE),
    "java": Tool("Queue.java", lambda file: [["java", file]], needs("java")),
    "go": Tool("example.go", lambda file: [["go", "run", file]], needs("go")),
}


def examples() -> Iterator[Example]:
    section = ""
    for found in EXAMPLE.finditer(DOCUMENT):
        section = found[1] or section
        if not found[1]:
            yield Example(section, found[2], found[3], found[4])


EXAMPLES = list(examples())


def test_every_language_has_an_example_and_every_example_its_output() -> None:
    assert {example.language for example in EXAMPLES} == set(TOOLS)
    blocks = re.findall(r"^```(\w+)$", DOCUMENT, re.MULTILINE)
    assert len([language for language in blocks if language in TOOLS]) == len(EXAMPLES)


@asynccontextmanager
async def full_at_first(url: str) -> AsyncIterator[str]:
    """The address of a proxy that refuses the first request. Later connections lead to the service at `url`."""
    has_refused = False

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal has_refused
        if has_refused:
            there = await asyncio.open_connection(*address_of(url))
            await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))
            return
        has_refused = True
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        await reader.readexactly(int(length[1]) if length else 0)
        writer.write(FULL)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
    assert has_refused


@pytest.mark.slow
@pytest.mark.parametrize(
    "example", EXAMPLES, ids=[f"{each.section}-{number}" for number, each in enumerate(EXAMPLES, 1)]
)
async def test_an_example_prints_its_documented_output(asked: Asked, tmp_path: Path, example: Example) -> None:
    """The first request of an example with retries is refused."""
    tool = TOOLS[example.language]
    if tool.missing:
        pytest.skip(tool.missing)
    file = tmp_path / tool.file
    file.write_text(example.code, "utf-8")
    output = ""
    async with full_at_first(asked.url) if REPEATS.search(example.code) else nullcontext(asked.url) as url:
        for command in tool.commands(str(file)):
            done = await asyncio.to_thread(
                subprocess.run,
                command,
                env={**os.environ, "QUEUE_URL": url, "QUEUE_TOKEN": asked.token, "NO_PROXY": "*"},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            output = done.stdout
    expected = ".*".join(map(re.escape, example.output.rstrip().split("…")))
    assert re.fullmatch(expected, output.rstrip()), output
