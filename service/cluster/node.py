"""The counters on a node of a cluster: those of all its shards in one schema, which Citus does not manage.

The same files create them, and the same statements read them, as on one machine.
"""

from dataclasses import replace
from functools import cache

from service.cluster.topology import added_columns
from service.db import Statement, load_statement
from service.db.statements import parse_statement, read_sql
from service.model import Measure
from service.resources import sql_path
from service.schema.files import messages_table

SCHEMA = "queuestats_local"
PARENT = "queuestats_shards.messages"
FILES = (
    "citus/parent",
    *(f"counters/{name}" for name in ("queued_messages", "grouping_sets", "sum", "watermarks", "lock", "read")),
    *("counters/history", "control/arrivals"),
    *(f"counters/{name}" for name in ("triggers", "recorded", "bounds", "oldest", "fold", "compact")),
    *(f"counters/{name}" for name in ("deltas", "rebuild", "audit")),
    *(f"control/{name}" for name in ("preview", "change", "start", "step", "prune", "repair")),
    # The files that differ from those of one machine.
    *("citus/node", "citus/control", "counters/catalog"),
)
# After a split, the former shard may still have a row. The newest shard has the greatest id.
SHARD_OF = (
    f"(SELECT shard FROM {SCHEMA}.shards WHERE worker_hash(of_sender) BETWEEN lowest AND highest"
    " ORDER BY shard DESC LIMIT 1)"
)
TABLE = replace(
    messages_table(
        # The parent of the shards.
        PARENT,
        SCHEMA,
        message_status="public.message_status",
        # Only the owner can create our triggers on a shard.
        counted_table="TG_RELID",
        locked=f"{SCHEMA}.settle_lock, {PARENT}",
        begun_as=f"-{SHARD_OF}",
        # Services of a former release do not trust the counts of a shard that has a parent.
        has_created="(NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'queuestats_node'))",
        queued_messages=(
            '(SELECT sender_id, account_id, campaign_id, isp COLLATE "C" AS isp, status, created_at'
            " FROM queuestats_local.messages_here(cast(:sender_id AS bigint))) AS queued"
        ),
    ),
    paths=FILES,
)


@cache
def at_node(name: str, within: str = "") -> Statement:
    """A statement on the counters of a node. `within`: the file of sql/citus/ that adds the proof for its `shards`."""
    statement = load_statement(name, TABLE.places)
    if not within:
        return statement
    types = {"shards": "bigint[]", **statement.types}
    parameters = ", ".join(f"{parameter} {type_}" for parameter, type_ in types.items())
    places = {"schema": SCHEMA, "statement": statement.text, "parameters": parameters}
    if within == "proved":
        places["nulls"] = ", ".join(["NULL"] * (len(Measure) - 1 + added_columns(name)))
    return replace(parse_statement(within, read_sql(f"citus/{within}", places)), name=name)


def condition_at_node(name: str) -> Statement:
    """The statement of a condition on a node: the file in sql/conditions/node/ if it exists, or that of one machine."""
    own = f"conditions/node/{name}"
    return at_node(own if sql_path(f"{own}.sql").is_file() else f"conditions/{name}")
