"""queuestats token create | list | revoke"""

import click
import msgspec

from service.cli.options import on_database, owner_url
from service.model import Scope
from service.settings import Settings


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
    type=click.Choice([each.value for each in Scope]),
    multiple=True,
    default=[Scope.STATS.value],
    help="what it may do; repeat it for several  [default: stats]",
)
@click.option("--json", "as_json", is_flag=True, help="print {name, token} as JSON")
@on_database
async def create(settings: Settings, name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Create a token; its secret is shown once. It works at once.

    \b
    Example: queuestats token create dashboard --json
    """
    from service.auth import create_token

    secret = await create_token(owner_url(settings), name, [Scope(each) for each in scopes])
    if as_json:
        click.echo(msgspec.json.encode({"name": name, "token": secret}))
    else:
        click.echo(f"Token of {name}, shown this once:", err=True)
        click.echo(secret)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="print a list of {name, scopes, created_at, revoked_at} as JSON")
@on_database
async def list_(settings: Settings, as_json: bool) -> None:
    """List the tokens, without their secrets.

    \b
    Example: queuestats token list
    """
    from service.auth import list_tokens
    from service.cli.output import print_table

    columns = ("name", "scopes", "created_at", "revoked_at")
    tokens = await list_tokens(owner_url(settings))
    print_table(columns, [[each[column] for column in columns] for each in tokens], as_json)


@token.command()
@click.argument("name")
@on_database
async def revoke(settings: Settings, name: str) -> None:
    """Revoke a token: within a second it is refused everywhere.

    \b
    Example: queuestats token revoke dashboard
    """
    from service.auth import revoke_token

    await revoke_token(owner_url(settings), name)
    click.echo(f"{name} is revoked.")
