import shlex

import click
from msgspec.structs import replace

from service.cli.interrupts import run, until_stopped
from service.cli.options import command, open_database, open_pool, owner_url, service_url, settings_options
from service.cli.serve import run_server
from service.cli.workbench import seed_with_progress
from service.model import Scope, StatsQuery
from service.settings import Settings, variable

# The sender of the documented example. A very small queue does not have it, but has sender 1.
EXAMPLE_SENDER, FIRST_SENDER = 119, 1
# A demo ends within five seconds; the database needs the rest.
SHUTDOWN_TIMEOUT_MS = 1000


@command("demo --port 8080 --messages 100000")
@settings_options("host", "port", "data_dir")
@click.option(
    "--messages",
    type=click.IntRange(1, 10**9),
    default=1_000_000,
    show_default=True,
    help="number of messages of a new queue",
)
def demo(settings: Settings, messages: int) -> None:
    """Serve a sample queue from an embedded PostgreSQL.

    Ctrl-C or SIGTERM ends the demo.
    """
    from service.http.server.sockets import address, listen

    # The port is bound first: if it is taken, nothing has been changed.
    with until_stopped(), listen(settings) as listener:
        own = _for_a_demo(settings)
        click.echo(f"Starting PostgreSQL in {own.data_dir} ...")
        with open_database(own) as opened:
            token, sender = run(_prepare(opened, messages), has_more=True)
            click.echo(_welcome(address(listener, opened), token, sender))
            run_server(opened, listener)


def _for_a_demo(settings: Settings) -> Settings:
    """Settings without a database address, because a demo fills its database, and with a short shutdown."""
    for name in ("database_url", "admin_database_url"):
        if getattr(settings, name) is not None:
            click.echo(f"{variable(name)} is set, but a demo uses its own embedded database only.")
    patience_ms = min(settings.shutdown_timeout_ms, SHUTDOWN_TIMEOUT_MS)
    # Lines below this level would hide the output of the demo.
    level = "warning" if settings.log_level == "info" else settings.log_level
    own = {"database_url": None, "admin_database_url": None}
    return replace(settings, **own, shutdown_timeout_ms=patience_ms, log_level=level)


async def _prepare(settings: Settings, messages: int) -> tuple[str, int]:
    """Fills the queue and creates a token. Returns the token's secret and a sender that has messages."""
    from service.access.admin import create_token
    from service.cluster import Node
    from service.counters.folding import Folder
    from service.db import connect, fetch
    from service.queue.stats import fetch_report
    from service.schema import migrate
    from service.workbench.seed import Profile, SeedPlan, default_senders

    click.echo("Migrating ...")
    await migrate(owner_url(settings), service_url(settings), messages_schema=settings.messages_schema)
    async with connect(owner_url(settings)) as connection:
        if found := (await fetch(connection, "seed/size"))[0][0]:
            click.echo(_reuse_notice(settings, found, messages))
        else:
            (disposable,) = await fetch(connection, "queries/disposable")
            await connection.execute(disposable["marking"])
            await seed_with_progress(connection, SeedPlan(messages, default_senders(messages, Profile.PLATFORM)))
    async with open_pool(settings) as database:
        # Otherwise the first requests would compete with the fold of the whole queue.
        await Folder(Node(database)).fold_all()
        example = await fetch_report(database, StatsQuery(EXAMPLE_SENDER))
    secret = await create_token(owner_url(settings), "demo", list(Scope), replace=True)
    return secret, EXAMPLE_SENDER if example.rows[0].total else FIRST_SENDER


def _reuse_notice(settings: Settings, found: int, messages: int) -> str:
    notice = "The queue of an earlier start is used again. Its token no longer works; the token below replaces it."
    if found == messages:
        return notice
    folder = shlex.quote(str(settings.data_dir))
    return (
        f"{notice}\nIt has {found:,} messages, not {messages:,}; to replace them while the demo runs:\n"
        f"queuestats seed --replace --messages {messages} --data-dir {folder}"
    )


def _welcome(url: str, token: str, sender: int) -> str:
    endpoint = f"{url}/api/v1.1/admin/senders/queue/stats/"
    as_json = f'{{"token": "{token}", "id": {sender}, "group": "account_campaign"}}'
    as_xml = f"<xml><token>{token}</token><id>{sender}</id><group>account_campaign</group></xml>"
    return f"""
Serving on {url}  (Ctrl-C ends it)

In a browser: {url}/  and the token {token}

JSON:
curl -sS {endpoint} -d '{as_json}' -w '\\n'

XML:
curl -sS {endpoint} -d '{as_xml}' -w '\\n'
"""
