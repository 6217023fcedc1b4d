"""docs/clients.md: each example runs where its tool is installed, and prints what stands below it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients.conftest import NODE, TYPESCRIPT, Asked

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "clients.md").read_text("utf-8")
# A section, its example, and the output below it. `…` is anything within a line.
LINES = r"((?:(?!```).*\n)+)"
EXAMPLE = re.compile(rf"^## (.+)$|^```(\w+)\n{LINES}```\n\n```text\n{LINES}```$", re.MULTILINE)
PATIENCE_SECONDS = 120


class Example(NamedTuple):
    section: str
    language: str
    code: str
    output: str


class Tool(NamedTuple):
    """`commands` runs the file of an example; `missing` is why it can't."""

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


@pytest.mark.slow
@pytest.mark.parametrize(
    "example", EXAMPLES, ids=[f"{each.section}-{number}" for number, each in enumerate(EXAMPLES, 1)]
)
def test_an_example_prints_what_stands_below_it(asked: Asked, tmp_path: Path, example: Example) -> None:
    tool = TOOLS[example.language]
    if tool.missing:
        pytest.skip(tool.missing)
    file = tmp_path / tool.file
    file.write_text(example.code, "utf-8")
    output = ""
    for command in tool.commands(str(file)):
        done = subprocess.run(
            command,
            env={**os.environ, "QUEUE_URL": asked.url, "QUEUE_TOKEN": asked.token, "NO_PROXY": "*"},
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
