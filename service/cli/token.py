"""queuestats token create | list | revoke"""

import click
import msgspec

from service.cli.interrupts import run
from service.cli.options import database_options, open_database, owner_url
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
@database_options
def create(settings: Settings, name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Create a token; its secret is shown once. It works at once.

    \b
    Example: queuestats token create dashboard --json
    """
    from service.auth import create_token

    with open_database(settings) as opened:
        secret = run(create_token(owner_url(opened), name, [Scope(each) for each in scopes]))
    if as_json:
        click.echo(msgspec.json.encode({"name": name, "token": secret}))
    else:
        click.echo(f"Token of {name}, shown this once:", err=True)
        click.echo(secret)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="print a list of {name, scopes, created_at, revoked_at} as JSON")
@database_options
def list_(settings: Settings, as_json: bool) -> None:
    """List the tokens, without their secrets.

    \b
    Example: queuestats token list
    """
    from service.auth import list_tokens
    from service.cli.output import print_table

    with open_database(settings) as opened:
        tokens = run(list_tokens(owner_url(opened)))
    print_table(tokens, ("name", "scopes", "created_at", "revoked_at"), as_json)


@token.command()
@click.argument("name")
@database_options
def revoke(settings: Settings, name: str) -> None:
    """Revoke a token: within a second it is refused everywhere.

    \b
    Example: queuestats token revoke dashboard
    """
    from service.auth import revoke_token

    with open_database(settings) as opened:
        run(revoke_token(owner_url(opened), name))
    click.echo(f"{name} is revoked.")
