"""queuestats explain"""

import click
import msgspec

from service.cli.interrupts import run
from service.cli.options import database_options, open_database, service_url
from service.cli.stats import query_options
from service.model import Explanation, StatsQuery
from service.settings import Settings


@click.command()
@query_options
@click.option("--analyze", is_flag=True, help="run the statement and show times, rows and buffers")
@click.option("--json", "as_json", is_flag=True, help="print {statement, sql, parameters, plan, warnings} as JSON")
@database_options
def explain(settings: Settings, query: StatsQuery, analyze: bool, as_json: bool) -> None:
    """Show the very SQL that the service runs for a question, its plan, and warnings where it is not the one intended.

    The service's role and settings apply. A look-up's plan is the one for all values, which a prepared statement comes
    to; a scan is planned for its values.

    \b
    Example: queuestats explain --sender 119 --group isp --analyze
    """
    with open_database(settings) as opened:
        explanation = run(_explain(opened, query, analyze, as_json))
    if as_json:
        click.echo(msgspec.json.encode(explanation))
        return
    click.echo(explanation.sql)
    for name, value in explanation.parameters.items():
        click.echo(f"-- {name} = {'NULL' if value is None else value}")
    click.echo("\n" + "\n".join(explanation.plan))
    for warning in explanation.warnings:
        click.echo(f"Warning: {warning}", err=True)


async def _explain(settings: Settings, query: StatsQuery, analyze: bool, as_json: bool) -> Explanation:
    from service.db import Database
    from service.explain import explain as ask_for_plan

    async with Database.from_settings(settings, service_url(settings), pool_size=1) as database:
        return await ask_for_plan(database, query, analyze=analyze, as_json=as_json)
