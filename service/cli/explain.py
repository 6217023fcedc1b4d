"""queuestats explain"""

import re
from collections.abc import Mapping
from typing import Any

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
@click.option("--batched", is_flag=True, help="the form for several questions that wait together")
@click.option("--json", "as_json", is_flag=True, help="print {statement, sql, parameters, plan, warnings} as JSON")
@database_options
def explain(settings: Settings, query: StatsQuery, analyze: bool, batched: bool, as_json: bool) -> None:
    """Show whether a question is answered as intended, the very SQL that the service runs for it, and its plan.

    The service's role and settings apply. A look-up's plan is the one for all values, which a prepared statement comes
    to; a scan is planned for its values.

    \b
    Example: queuestats explain --sender 119 --group isp --analyze
    """
    with open_database(settings) as opened:
        in_words, tree, scan = run(_explain(opened, query, analyze, batched))
    if as_json:
        click.echo(msgspec.json.encode(tree))
        return
    click.echo(verdict(tree, scan))
    for warning in in_words.warnings:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(f"\n{with_values(in_words.sql, in_words.parameters)}\n" + "\n".join(in_words.plan))


async def _explain(
    settings: Settings, query: StatsQuery, analyze: bool, batched: bool
) -> tuple[Explanation, Explanation, dict[str, Any]]:
    """The same explanation with its plan as text and as JSON, and the plan of a scan."""
    from service.db import Database
    from service.explain import explain as ask_for_plan
    from service.explain import scan_plan

    async with Database.from_settings(settings, service_url(settings), pool_size=1) as database:
        in_words, tree = [
            await ask_for_plan(database, query, analyze=analyze, as_json=as_json, batched=batched)
            for as_json in (False, True)
        ]
        return in_words, tree, await scan_plan(database, query)


def verdict(explained: Explanation, scan: Mapping[str, Any]) -> str:
    """Whether the plan is the intended one, what it costs, and what reading the messages would cost."""
    (tree,) = explained.plan
    top = tree["Plan"]
    if "Actual Rows" in top:
        pages = top.get("Shared Hit Blocks", 0) + top.get("Shared Read Blocks", 0)
        cost = f"{top['Actual Rows']:,.0f} rows, {pages:,} pages, {tree['Execution Time']:.2f} ms"
    else:
        cost = f"about {top['Plan Rows']:,} rows, cost {top['Total Cost']:,.0f}; --analyze measures"
    read = max(_rows_read(scan["Plan"]), default=0)
    return (
        f"{'Not as intended' if explained.warnings else 'As intended'}: {explained.statement}, {cost}.\n"
        f"A scan of the messages would read about {read:,.0f} of them, cost {scan['Plan']['Total Cost']:,.0f}."
    )


def _rows_read(node: Mapping[str, Any]) -> list[float]:
    """The rows that each node below is expected to give."""
    return [node["Plan Rows"], *(rows for child in node.get("Plans", ()) for rows in _rows_read(child))]


def with_values(sql: str, parameters: Mapping[str, Any]) -> str:
    """The statement as psql takes it: each `:name` is its value."""
    code = (line for line in sql.splitlines() if not line.startswith("-- parameters:"))
    names = "|".join(parameters) or "(?!)"
    return re.sub(rf":({names})\b", lambda found: literal(parameters[found[1]]), "\n".join(code)).rstrip() + ";\n"


def literal(value: Any) -> str:
    """As SQL writes it."""
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(literal, value))}]"
    if value is None or isinstance(value, int):
        return "NULL" if value is None else str(value)
    return "'" + str(value).replace("'", "''") + "'"
