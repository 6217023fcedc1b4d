"""The common parts of commands: an example, options, and the address of the database."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from service.cli.interrupts import hold_off_signals, run
from service.cli.types import ID, Text
from service.errors import BadRequest, CommandError
from service.model import StatsQuery
from service.settings import Settings, load_settings, meaning, variable

if TYPE_CHECKING:
    from service.db import Database

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

DATABASE_SETTINGS = ("database_url", "admin_database_url", "messages_schema", "data_dir")


def in_order(*options: Decorator) -> Decorator:
    """Several options as one decorator; `--help` lists them in this order."""
    return lambda function: functools.reduce(lambda command, option: option(command), reversed(options), function)


def command(example: str, group: Any = click, **attributes: Any) -> Decorator:
    """As `click.command`, or as that of a group; the help is the docstring, followed by the example."""

    def decorate(function: Callable[..., Any]) -> Any:
        text = f"{inspect.getdoc(function)}\n\n\b\nExample: queuestats {example}"
        return group.command(help=text, **attributes)(function)

    return decorate


def _only(ctx: click.Context, param: click.Parameter, given: tuple[Any, ...]) -> Any:
    if len(given) > 1:
        raise click.BadParameter("it must be given once.", ctx, param)
    return given[0] if given else None


# Click itself uses the last value of a repeated option, and ignores the others.
option_once = functools.partial(click.option, multiple=True, callback=_only)


def _as_argument(name: str, make: Callable[[dict[str, Any]], Any], options: Mapping[str, Decorator]) -> Decorator:
    """Adds these options to a command, which gets `make` of their values (by name) as the argument `name`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**given: Any) -> Any:
            made = make({option: given.pop(option) for option in options})
            return function(**{name: made}, **given)

        return in_order(*options.values())(command)

    return decorate


def query_options(option: Callable[..., Decorator], isp: Text, **more: Decorator) -> Decorator:
    """The options that select messages, made by `option`, and `more` fields of a StatsQuery, as the argument `query`.

    An empty ISP is no filter.
    """
    options = {
        "sender_id": option("--sender", "sender_id", type=ID, required=True, help="sender of the queue"),
        "account_id": option("--account", "account_id", type=ID, help="only this account's messages"),
        "campaign_id": option("--campaign", "campaign_id", type=ID, help="only this campaign's messages"),
        "isp": option("--isp", type=isp, help="only this ISP's messages (exact name)"),
    }

    def query_of(given: dict[str, Any]) -> StatsQuery:
        parts = given.pop("parts", ())
        query = StatsQuery(**given | {"isp": given["isp"] or None})
        try:
            return query.with_parts(parts)
        except BadRequest as error:
            raise click.UsageError(f"{error.text}.") from error

    return _as_argument("query", query_of, options | more)


def json_option(result: str = "a list of objects") -> Decorator:
    return click.option("--json", "as_json", is_flag=True, help=f"print {result} as JSON")


names_option = click.option(
    "--names",
    "has_names",
    is_flag=True,
    help="add the text keys of senders, accounts and campaigns of an adopted table",
)


def settings_options(*names: str) -> Decorator:
    """Adds an option for each of these settings, and `settings` as an argument."""
    options = {
        name: click.option("--" + name.replace("_", "-"), name, help=f"{meaning(name)} [{variable(name)}]")
        for name in names
    }
    return _as_argument("settings", load_settings, options)


def on_database(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for the database to a command, and `settings` with both addresses as an argument.

    The command is a coroutine function, cancelled by a signal; it may return its exit code.
    """

    @settings_options(*DATABASE_SETTINGS)
    @functools.wraps(function)
    def command(settings: Settings, **options: Any) -> None:
        with open_database(settings) as opened:
            exit_code = run(function(settings=opened, **options))
        if exit_code:
            sys.exit(exit_code)

    return command


@contextmanager
def open_database(settings: Settings) -> Iterator[Settings]:
    """The settings with both addresses; without an address, the embedded server runs during the block.

    Raises CommandError if an address has a parameter that the driver does not support.
    """
    if settings.owner_url is not None:
        _check_addresses(settings)
        yield settings
        return
    from service.embedded import EmbeddedServer

    with EmbeddedServer(settings.data_dir) as server:
        try:
            yield replace(settings, database_url=server.service_url, admin_database_url=server.owner_url)
        finally:
            hold_off_signals()


def _check_addresses(settings: Settings) -> None:
    from service.db.address import check_address

    for name in ("database_url", "admin_database_url"):
        url = getattr(settings, name)
        if url and (ignored := check_address(url, variable(name))):
            click.echo(f"{variable(name)}: ignored: {', '.join(ignored)} (docs/deployment.md).", err=True)


def open_pool(settings: Settings) -> "Database":
    """One connection with the service's role and its limits. Raises as `service_url`."""
    from service.db import Database

    return Database(settings, service_url(settings), pool_size=1)


def service_url(settings: Settings) -> str:
    """The address for commands that act as the service. Raises CommandError if only the owner's is set."""
    if settings.database_url is None:
        raise CommandError("QUEUESTATS_DATABASE_URL must be set together with QUEUESTATS_ADMIN_DATABASE_URL.")
    return settings.database_url


def owner_url(settings: Settings) -> str:
    """The address for the owner's commands, which find the table messages by their search_path."""
    from service.db.address import with_search_path

    assert settings.owner_url is not None, "open_database has filled it in"
    return with_search_path(settings.owner_url, settings.messages_schema)
