"""What every command says of itself."""

import subprocess
import sys
import tomllib
from dataclasses import fields

import click
import pytest

from service.cli import main
from service.settings import Settings, variable
from tests.cli.programs import ROOT, environment, queuestats

# A command's own libraries are imported when it runs, not when it is asked what it does.
HEAVY = ("asyncpg", "sqlalchemy", "alembic", "uvicorn", "starlette", "lxml", "rich.console")


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command and of every group."""
    context = click.Context(group)
    found = [path]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
        else:
            found.append((*path, name))
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_has_an_example_and_is_quick(command: tuple[str, ...]) -> None:
    told = queuestats(*command, "--help")
    assert told.returncode == 0
    assert told.stderr == ""
    assert f"Example: queuestats {' '.join(command)}".rstrip() in told.stdout


@pytest.mark.parametrize("command", [words for words in commands() if len(words) == 1], ids=" ".join)
def test_help_imports_no_heavy_library(command: tuple[str, ...]) -> None:
    script = (
        "import sys; from service.cli import main\n"
        f"try: main([*{command!r}, '--help'])\n"
        f"except SystemExit: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd="/", env=environment(), capture_output=True, text=True, check=True
    )
    assert ran.stderr.strip() == "[]"


def test_the_version_is_that_of_the_distribution() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    told = queuestats("--version")
    assert (told.returncode, told.stdout.split()[-1]) == (0, version)


def test_every_command_and_every_setting_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    wanted = {f"`queuestats {words[0]}`" for words in commands() if words}
    wanted |= {f"`{variable(each.name)}`" for each in fields(Settings)}
    assert sorted(each for each in wanted if each not in readme) == []
