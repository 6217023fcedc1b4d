"""The help of every command."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextvars import copy_context

import click
from click.testing import CliRunner

from service.cli import COMMANDS, main
from tests.cli.programs import ROOT, environment, queuestats

# A command imports its libraries when it runs, not for --help.
HEAVY = ("asyncpg", "sqlalchemy", "alembic", "uvicorn", "starlette", "lxml", "rich.console")


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names of every command and of every group."""
    yield path
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif command is not None and not command.hidden:
            yield (*path, name)


def test_the_help_of_every_command_has_an_example() -> None:
    # Each in its own context, because a command sets the name of its database connections.
    printed = {words: copy_context().run(CliRunner().invoke, main, [*words, "--help"]) for words in commands()}
    assert len(printed) > len(COMMANDS)
    assert [
        words
        for words, ended in printed.items()
        if ended.exit_code or f"Example: queuestats {' '.join(words)}".rstrip() not in ended.output
    ] == []


def test_help_needs_no_heavy_library() -> None:
    script = (
        "import sys\nfrom click.testing import CliRunner\nfrom service.cli import COMMANDS, main\n"
        "for name in COMMANDS:\n    CliRunner().invoke(main, [name, '--help'])\n"
        f"    assert not [each for each in {HEAVY!r} if each in sys.modules], name"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd="/", env=environment(), capture_output=True, text=True)  # noqa: PLW1510
    assert (ran.returncode, ran.stderr) == (0, "")


def test_help_and_version_of_the_program() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    printed = queuestats("--version")
    assert (printed.returncode, printed.stdout.split()[-1]) == (0, version)
    assert "Example: queuestats stats" in queuestats("--help").stdout


def test_shell_completion_works_as_documented() -> None:
    for shell in ("bash", "zsh", "fish"):
        printed = queuestats("completion", shell)
        assert (printed.returncode, printed.stderr) == (0, "")
        assert f"_QUEUESTATS_COMPLETE={shell}_complete" in printed.stdout
    words = environment(_QUEUESTATS_COMPLETE="bash_complete", COMP_WORDS="queuestats st", COMP_CWORD="1")
    script = "import sys\nfrom service.cli import main\nsys.argv[0] = 'queuestats'\nmain(prog_name='queuestats')"
    ran = subprocess.run([sys.executable, "-c", script], env=words, capture_output=True, text=True, check=False)
    assert "plain,stats" in ran.stdout
