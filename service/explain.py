"""The very SQL that the service runs for a question, and the plan that PostgreSQL makes of it."""

from service.db import Database, statement
from service.db.plans import plan_of
from service.model import Explanation, StatsQuery
from service.plans import Surroundings, warnings
from service.stats import CounterReader, counter_read


async def explain(database: Database, query: StatsQuery, *, analyze: bool, as_json: bool) -> Explanation:
    """Explains under the role and the settings of the service; with `analyze` the statement really runs.

    Raises Unavailable or TimedOut.
    """
    is_scan = not await CounterReader(database).is_counted()
    asked, parameters = counter_read(query).from_messages() if is_scan else counter_read(query).from_counters()
    plan = await plan_of(database, asked, parameters, analyze=analyze, is_scan=is_scan)
    (tables,) = await database.fetch(statement("explain/tables"))
    around = Surroundings(tables["indexes"], tables["messages"])
    return Explanation(
        f"sql/{asked.name}.sql",
        asked.text,
        parameters,
        [plan.tree] if as_json else plan.lines,
        warnings(asked.text, plan.tree, around, is_scan=is_scan),
    )
