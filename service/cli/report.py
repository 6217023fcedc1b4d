from typing import Any

import click

from service.cli.options import command, in_order, json_option, names_option, on_database, open_pool
from service.cli.output import echo, print_csv, print_table
from service.cli.types import Member, Text
from service.errors import BadRequest
from service.model import By, Format, Measure, Order
from service.settings import Settings

LISTS = in_order(
    click.option(
        "--sender",
        "senders",
        multiple=True,
        help="only this sender; --sender, --by, --account, --campaign and --isp may be repeated",
    ),
    click.option("--by", type=Member(By), multiple=True, help="group the messages by this key (default: sender)"),
    click.option(
        "--account", "account_id", multiple=True, help="only this account's messages; 0: messages without an account"
    ),
    click.option(
        "--campaign", "campaign_id", multiple=True, help="only this campaign's messages; 0: messages without a campaign"
    ),
    click.option(
        "--isp", type=Text(), multiple=True, help='only this ISP\'s messages (exact name); "": messages without an ISP'
    ),
)


@command("report --sender 119 --sender 120 --by sender --by isp --csv")
@LISTS
@click.option("--status", type=Member(Measure), help="only rows with messages of this status")
@click.option(
    "--search", help="only senders whose id begins with this text; with --names, also senders whose name does"
)
@click.option(
    "--order",
    type=Member(Order),
    default="key",
    help="sort rows by key, by a count (largest first), or by the oldest message",
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, help="largest number of rows of a page")
@click.option(
    "--after", help="continue after a page: the value that the previous call printed after `More rows: --after`"
)
@click.option("--csv", "as_csv", is_flag=True, help="print the rows as CSV, with a header")
@json_option("a list of rows")
@click.option(
    "--from-messages",
    "is_from_messages",
    is_flag=True,
    help="count the messages instead of reading the counters, without pages",
)
@names_option
@on_database
async def report(
    settings: Settings, as_csv: bool, as_json: bool, is_from_messages: bool, has_names: bool, **given: Any
) -> None:
    """Count the messages of many senders, grouped by chosen keys.

    A call prints one page of the rows.
    """
    from service.queue.names import name_rows
    from service.queue.report import fetch_definition, fetch_page
    from service.wire.parsing import Envelope, parse_report
    from service.wire.rendering.rows import Shape

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    try:
        members = {name: _written(value) for name, value in given.items() if value not in (None, ())}
        query = parse_report(Envelope(Format.JSON, members | {"names": str(int(has_names))}))
    except BadRequest as error:
        raise click.UsageError(f"{error.text}.") from error
    async with open_pool(settings) as database:
        page = await (fetch_definition if is_from_messages else fetch_page)(database, query)
        rows = await name_rows(database, page.rows) if has_names else page.rows
    columns = Shape(names={}).columns(page.columns) if has_names else page.columns
    if not as_json:
        # Only the time that determines the order.
        rows = [{**row, "oldest": row["oldest"][query.status or "total"]} if "oldest" in row else row for row in rows]
    if as_csv:
        print_csv(columns, rows)
    else:
        print_table(columns, rows, as_json)
    if page.more["next"]:
        echo(f"More rows: --after {page.more['next']}", err=True)


def _written(value: Any) -> Any:
    """As in a request."""
    return tuple(map(str, value)) if isinstance(value, tuple) else str(value)
