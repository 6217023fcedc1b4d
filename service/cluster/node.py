"""What a node of a cluster keeps: the counters of its shards in one schema, which Citus does not know.

They are made by files that one machine has too, and read by the same statements.
"""

from dataclasses import replace
from functools import cache

from service.db import Statement, load_statement
from service.db.statements import parse_statement, read_sql
from service.schema.files import messages_table

SCHEMA = "queuestats_local"
FILES = (
    "citus/parent",
    *(f"counters/{name}" for name in ("queued_messages", "grouping_sets", "sum", "watermarks", "lock", "read")),
    *("counters/history", "control/arrivals", "counters/triggers"),
    *(f"counters/{name}" for name in ("bounds", "fold", "compact", "deltas", "rebuild", "audit")),
    *(f"control/{name}" for name in ("preview", "change", "start", "step", "prune", "repair")),
    # What differs.
    *("citus/node", "citus/control"),
)
# It has no history and no bounds.
LACKING = dict.fromkeys(("has_history", "has_created"), "false")
TABLE = replace(
    messages_table(
        # The parent of the shards, for holds and jobs.
        f"{SCHEMA}.messages",
        SCHEMA,
        message_status="public.message_status",
        # Only the owner can create our triggers on a shard.
        counted_table="TG_RELID",
        locked=f"{SCHEMA}.settle_lock",
        queued_messages=(
            '(SELECT sender_id, account_id, campaign_id, isp COLLATE "C" AS isp, status'
            " FROM queuestats_local.messages_here(cast(:sender_id AS bigint))) AS queued"
        ),
        **LACKING,
    ),
    paths=FILES,
)


@cache
def at_node(name: str, within: str = "") -> Statement:
    """A statement on the counters of a node. `within`: the file of sql/citus/ that adds the proof of its `shards`."""
    statement = load_statement(name, TABLE.places)
    if not within:
        return statement
    types = {"shards": "bigint[]", **statement.types}
    parameters = ", ".join(f"{parameter} {type_}" for parameter, type_ in types.items())
    places = {"schema": SCHEMA, "statement": statement.text, "parameters": parameters}
    return replace(parse_statement(within, read_sql(f"citus/{within}", places)), name=name)
