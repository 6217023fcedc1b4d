from collections.abc import Mapping
from typing import Any

import click
import msgspec

from service.cli.options import json_option, on_database, open_pool
from service.cli.stats import QUERY_OPTIONS, query_of
from service.model import Explanation
from service.settings import Settings


@click.command()
@QUERY_OPTIONS
@click.option("--analyze", is_flag=True, help="run the statement and show times, rows and buffers")
@click.option("--batched", is_flag=True, help="for two queries that wait together: this one, and the next sender's")
@json_option("{statement, sql, parameters, plan, warnings}")
@on_database
async def explain(
    settings: Settings, is_from_messages: bool, analyze: bool, batched: bool, as_json: bool, **of_query: Any
) -> None:
    """Show whether a query runs as intended, the very SQL that the service runs for it, and its plan.

    The service's role and settings apply. A look-up's plan is the one for all values, which a prepared statement comes
    to; a scan is planned for its values.

    \b
    Example: queuestats explain --sender 119 --group isp --analyze
    """
    from service.queue.explain import explain as explain_query
    from service.queue.explain import with_values

    query = query_of(**of_query)
    async with open_pool(settings) as database:
        scan = await explain_query(database, query, analyze=False, is_from_messages=True)
        explained = await explain_query(
            database, query, analyze=analyze, is_batched=batched, is_from_messages=is_from_messages
        )
    if as_json:
        names = ("statement", "sql", "parameters", "warnings")
        shown = {name: getattr(explained, name) for name in names} | {"plan": [explained.tree]}
        click.echo(msgspec.json.encode(shown))
        return
    click.echo(verdict(explained, scan.tree))
    for warning in explained.warnings:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(f"\n{with_values(explained.sql, explained.parameters)}\n" + "\n".join(explained.lines))


def verdict(explained: Explanation, scan: Mapping[str, Any]) -> str:
    """Whether the plan is the intended one, its cost, and the cost of reading the messages."""
    top = explained.tree["Plan"]
    if "Actual Rows" in top:
        pages = top.get("Shared Hit Blocks", 0) + top.get("Shared Read Blocks", 0)
        cost = f"{top['Actual Rows']:,.0f} rows, {pages:,} pages, {explained.tree['Execution Time']:.2f} ms"
    else:
        cost = f"about {top['Plan Rows']:,} rows, cost {top['Total Cost']:,.0f}; --analyze measures"
    read = max(_rows_read(scan["Plan"]), default=0)
    return (
        f"{'Not as intended' if explained.warnings else 'As intended'}: {explained.statement}, {cost}.\n"
        f"A scan of the messages would read about {read:,.0f} of them, cost {scan['Plan']['Total Cost']:,.0f}."
    )


def _rows_read(node: Mapping[str, Any]) -> list[float]:
    """The rows that the planner expects of this node and of each node below it."""
    return [node["Plan Rows"], *(rows for child in node.get("Plans", ()) for rows in _rows_read(child))]
