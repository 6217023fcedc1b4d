"""The very SQL that the service runs for a question, and the plan that PostgreSQL makes of it."""

from typing import Any

import msgspec

from service.db import Database, statement
from service.db.plans import plan_of
from service.model import Explanation, StatsQuery
from service.plans import Surroundings, warnings
from service.stats import CounterReader, counter_read


async def explain(
    database: Database, query: StatsQuery, *, analyze: bool, as_json: bool, batched: bool = False
) -> Explanation:
    """Explains under the role and the settings of the service; with `analyze` the statement really runs.

    With `batched` it is the statement for several questions that wait together: this one, and the next sender's.

    Raises Unavailable or TimedOut.
    """
    read = counter_read(query)
    is_scan = not await CounterReader(database).is_counted()
    asked, parameters = read.from_messages() if is_scan else read.from_counters()
    if batched and not is_scan:
        asked = statement(asked.name.replace("from_counters/", "from_counters/many/"))
        both = read, counter_read(msgspec.structs.replace(query, sender_id=query.sender_id + 1))
        parameters = {name: [getattr(each, name) for each in both] for name in asked.types}
    plan = await plan_of(database, asked, parameters, analyze=analyze, is_scan=is_scan)
    (tables,) = await database.fetch_scan(statement("explain/tables"))
    around = Surroundings(tables["indexes"], tables["messages"])
    return Explanation(
        f"sql/{asked.name}.sql",
        asked.text,
        parameters,
        [plan.tree] if as_json else plan.lines,
        warnings(asked.text, plan.tree, around, is_scan=is_scan),
    )


async def scan_plan(database: Database, query: StatsQuery) -> dict[str, Any]:
    """PostgreSQL's JSON of the plan that would add up the messages themselves; it is not run."""
    asked, parameters = counter_read(query).from_messages()
    return (await plan_of(database, asked, parameters, analyze=False, is_scan=True)).tree
