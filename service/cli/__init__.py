"""The commands: one small file each, no logic."""

import importlib
import logging
import sys
from typing import Any

import click

from service.cli.interrupts import unwind_on_signals
from service.errors import CommandError, ServiceError
from service.origin import command as command_in_use

# Command and the module that holds it; it is imported when it is called, so that `--help` is quick.
COMMANDS = {
    "demo": "demo",
    "serve": "serve",
    "migrate": "migrate",
    "seed": "seed",
    "token": "token",
    "stats": "stats",
    "explain": "explain",
    "verify": "verify",
    "fold": "fold",
    "doctor": "doctor",
    "bench": "bench",
    "simulate": "simulate",
    "psql": "psql",
}

# SQLSTATEs of a database that `migrate` has not seen: no such role, no right, no such table, column or function.
NOT_MIGRATED = ("28000", "42501", "42P01", "42703", "42883")


class Commands(click.Group):
    """A group that knows its commands by name, and tells a failure in one sentence."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"service.cli.{COMMANDS[name]}")
        command: click.Command = getattr(module, COMMANDS[name])
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, found, rest = super().resolve_command(context, args)
        command_in_use.set(name or "")
        return name, found, rest

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except CommandError as error:
            _fail(str(error))
        except ServiceError as error:
            _fail(_with_cause(error))
        except OSError as error:
            # A full disk below our output, say: Python must not try to write the rest at its end.
            sys.stdout = None
            _fail(f"{error.filename or 'The output'}: {error.strerror or error}.")

    def invoke(self, context: click.Context) -> Any:
        unwind_on_signals()
        # What a log line would tell, the sentence at the end tells; `serve` and `demo` set up a log.
        logging.getLogger("service").addHandler(logging.NullHandler())
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            sys.exit(130)


def _with_cause(error: ServiceError) -> str:
    """A client is not told why the database is out of reach; whoever sits at the terminal is."""
    reason = error.__cause__
    if reason is None:
        return f"{error.text}."
    unset = getattr(reason, "sqlstate", None) in NOT_MIGRATED
    return f"{error.text}: {str(reason) or type(reason).__name__}" + (" (see `queuestats migrate`)" if unset else "")


def _fail(sentence: str) -> None:
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="queuestats")
def main() -> None:
    """What is in a mail sender's queue, exactly, now.

    Settings come from options, QUEUESTATS_* variables and a .env file. Without a database address, an embedded
    PostgreSQL is used.

    \b
    Example: queuestats stats --sender 119 --group isp
    """
