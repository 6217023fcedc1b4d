"""The commands: options, a call, and what is printed; no logic."""

import importlib
import logging
import sys
from typing import Any

import click

from service.cli.interrupts import hold_off_signals, unwind_on_signals
from service.cli.output import echo
from service.errors import CommandError, ServiceError
from service.telemetry.origin import command as command_in_use

# The module of a command has its name, or is listed in MODULE_OF. It is imported when the command is called, so that
# `--help` is fast.
COMMANDS = (
    *("demo", "serve", "migrate", "seed", "token", "stats", "explain", "verify", "fold", "doctor"),
    *("adopt", "top", "history", "report", "hold", "release", "purge", "holds", "jobs", "audit", "prune"),
    *("bench", "simulate", "psql", "completion"),
)
MODULE_OF = {
    "explain": "stats",
    **dict.fromkeys(("hold", "release", "purge", "holds", "jobs", "audit", "prune"), "control"),
    **dict.fromkeys(("verify", "fold", "doctor"), "counters"),
    **dict.fromkeys(("seed", "simulate", "bench"), "workbench"),
}


class Commands(click.Group):
    """A group that imports its commands by name, and prints a failure as one sentence."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"service.cli.{MODULE_OF.get(name, name)}"), name)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        exit_code = 1
        try:
            return super().main(*args, **kwargs)
        except CommandError as error:
            sentence, exit_code = str(error), error.exit_code
        except ServiceError as error:
            # Imported only after an error, because the import takes a tenth of a second.
            from service.db.errors import in_words

            sentence = in_words(error)
        except OSError as error:
            # For example a full disk: Python must not try to write the rest when it exits.
            sys.stdout = None
            sentence = f"{error.filename or 'The output'}: {error.strerror or error}."
        echo(f"Error: {sentence}", err=True)
        sys.exit(exit_code)

    def invoke(self, context: click.Context) -> Any:
        unwind_on_signals()
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            hold_off_signals()
            click.echo("Stopped.", err=True)
            sys.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="queuestats")
@click.pass_context
def main(context: click.Context) -> None:
    """Exact, current counts of the messages in a mail sender's queue.

    Settings come from options, QUEUESTATS_* variables and a .env file. Without a database address, an embedded
    PostgreSQL is used.

    \b
    Example: queuestats stats --sender 119 --group isp
    """
    command_in_use.set(context.invoked_subcommand or "")
    # Commands report errors themselves; only `serve` and `demo` set up a log.
    logging.getLogger("service").addHandler(logging.NullHandler())
