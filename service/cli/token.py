from datetime import timedelta
from typing import Any

import click
import msgspec

from service.cli.options import json_option, on_database, owner_url
from service.cli.output import print_table
from service.cli.types import ID, Duration
from service.model import Scope
from service.settings import Settings

COLUMNS = (
    *("name", "scopes", "sender_ids", "account_ids"),
    *("created_at", "expires_at", "revoked_at", "rotating_until"),
)


@click.group()
def token() -> None:
    """API tokens. Only their hashes are stored.

    \b
    Example: queuestats token create dashboard
    """


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([*map(str, Scope)]),
    multiple=True,
    default=[Scope.STATS.value],
    help="what it may do; repeat it for several",
)
@click.option(
    "--sender", "sender_ids", type=ID, multiple=True, help="only this sender's messages; repeat it for several"
)
@click.option("--account", "account_ids", type=ID, multiple=True, help="only this account's messages; the same")
@click.option("--expires-in", type=Duration(), help="how long it is valid: 90d, 12h, 30m or 45s  [default: for ever]")
@json_option("{name, token}")
@on_database
async def create(settings: Settings, name: str, scopes: tuple[str, ...], as_json: bool, **limits: Any) -> None:
    """Create a token; its secret is shown once. It works at once.

    \b
    Example: queuestats token create dashboard --sender 119 --expires-in 90d
    """
    from service.access.admin import create_token

    _show(name, await create_token(owner_url(settings), name, list(map(Scope, scopes)), **limits), as_json)


@token.command()
@click.argument("name")
@click.option("--overlap", type=Duration(), default="1h", help="how long the former secret stays valid")
@json_option("{name, token}")
@on_database
async def rotate(settings: Settings, name: str, overlap: timedelta, as_json: bool) -> None:
    """Give a token a new secret, shown once. The former one stays valid for a while, so that clients can change over.

    \b
    Example: queuestats token rotate dashboard --overlap 24h
    """
    from service.access.admin import rotate_token

    _show(name, await rotate_token(owner_url(settings), name, overlap), as_json)


def _show(name: str, secret: str, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"name": name, "token": secret}))
    else:
        click.echo(f"Token of {name}, shown this once:", err=True)
        click.echo(secret)


@token.command("list")
@json_option()
@on_database
async def list_(settings: Settings, as_json: bool) -> None:
    """List the tokens, without their secrets.

    \b
    Example: queuestats token list
    """
    from service.access.admin import list_tokens

    print_table(COLUMNS, await list_tokens(owner_url(settings)), as_json)


@token.command()
@click.argument("name")
@on_database
async def revoke(settings: Settings, name: str) -> None:
    """Revoke a token: within a second it is refused everywhere.

    \b
    Example: queuestats token revoke dashboard
    """
    from service.access.admin import revoke_token

    await revoke_token(owner_url(settings), name)
    click.echo(f"{name} is revoked.")
