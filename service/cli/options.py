"""What commands share: options that are settings, and the database that they mean."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import click

from service.cli.interrupts import hold_off_signals
from service.errors import CommandError
from service.settings import Settings, load_settings, variable

DATABASE_SETTINGS = ("database_url", "admin_database_url", "data_dir")


def settings_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a command an option for each of these settings, and `settings` as an argument."""
    meanings = {each.name: each.metadata["meaning"] for each in fields(Settings)}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(*args: Any, **kwargs: Any) -> Any:
            overrides = {name: kwargs.pop(name) for name in names}
            return function(*args, settings=load_settings(overrides), **kwargs)

        for name in reversed(names):
            option = click.option("--" + name.replace("_", "-"), name, help=f"{meanings[name]} [{variable(name)}]")
            command = option(command)
        return command

    return decorate


database_options = settings_options(*DATABASE_SETTINGS)


@contextmanager
def open_database(settings: Settings) -> Iterator[Settings]:
    """The settings with both addresses in them; the embedded server runs meanwhile where none was given."""
    if settings.owner_url is not None:
        yield settings
        return
    from service.embedded import EmbeddedServer

    server = EmbeddedServer(settings.data_dir)
    try:
        server.start()
        yield replace(settings, database_url=server.service_url, admin_database_url=server.owner_url)
    finally:
        hold_off_signals()
        server.stop()


def service_url(settings: Settings) -> str:
    """The address for commands that act as the service. Raises CommandError where only the owner's is set."""
    if settings.database_url is None:
        raise CommandError("QUEUESTATS_DATABASE_URL must be set beside QUEUESTATS_ADMIN_DATABASE_URL.")
    return settings.database_url


def owner_url(settings: Settings) -> str:
    assert settings.owner_url is not None, "open_database has filled it in"
    return settings.owner_url
