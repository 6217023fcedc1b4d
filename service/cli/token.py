from datetime import timedelta
from functools import partial
from typing import Any

import click
import msgspec

from service.cli.options import command, json_option, on_database, owner_url
from service.cli.output import print_table
from service.cli.types import ID, Duration, Member
from service.model import Scope
from service.settings import Settings

COLUMNS = ("name", "scopes", "sender_ids", "account_ids", "created_at", "expires_at", "revoked_at", "rotating_until")
several = partial(click.option, multiple=True)


@click.group()
def token() -> None:
    """Manage API tokens. The database stores only their hashes.

    \b
    Example: queuestats token create dashboard
    """


@command("token create dashboard --sender 119 --expires-in 90d", token)
@click.argument("name")
@several(
    "--scope", "scopes", type=Member(Scope), default=["stats"], help="operations that the token allows; may be repeated"
)
@several("--sender", "sender_ids", type=ID, help="only messages of this sender; may be repeated")
@several("--account", "account_ids", type=ID, help="only messages of this account; may be repeated")
@click.option("--expires-in", type=Duration(), help="period of validity: 90d, 12h, 30m or 45s  [default: no limit]")
@json_option("{name, token}")
@on_database
async def create(settings: Settings, name: str, scopes: tuple[Scope, ...], as_json: bool, **limits: Any) -> None:
    """Create a token, which is valid immediately. The secret is shown only once."""
    from service.access.admin import create_token

    _show(name, await create_token(owner_url(settings), name, scopes, **limits), as_json)


@command("token rotate dashboard --overlap 24h", token)
@click.argument("name")
@click.option("--overlap", type=Duration(), default="1h", help="period in which the former secret stays valid")
@json_option("{name, token}")
@on_database
async def rotate(settings: Settings, name: str, overlap: timedelta, as_json: bool) -> None:
    """Give a token a new secret, which is shown only once. The former secret stays valid for the time of --overlap."""
    from service.access.admin import rotate_token

    _show(name, await rotate_token(owner_url(settings), name, overlap), as_json)


def _show(name: str, secret: str, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"name": name, "token": secret}))
    else:
        click.echo(f"Token of {name}, shown only once:", err=True)
        click.echo(secret)


@command("token list", token, name="list")
@json_option()
@on_database
async def list_(settings: Settings, as_json: bool) -> None:
    """List the tokens, without their secrets."""
    from service.access.admin import list_tokens

    print_table(COLUMNS, await list_tokens(owner_url(settings)), as_json)


@command("token revoke dashboard", token)
@click.argument("name")
@on_database
async def revoke(settings: Settings, name: str) -> None:
    """Revoke a token: all instances refuse it within a second."""
    from service.access.admin import revoke_token

    await revoke_token(owner_url(settings), name)
    click.echo(f"{name} is revoked.")
