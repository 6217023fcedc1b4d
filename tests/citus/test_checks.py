"""Checks of a cluster: what is wrong on a node or a shard is found, and what was not compared is said."""

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest

from service.cluster.distribute import bring_up_nodes, distribute
from service.counters.doctor import diagnose
from service.counters.health import OF_NODE, SHARDS, Finding
from service.counters.readiness import Readiness
from service.counters.verify import Verified, verify_database
from service.db import connect
from service.queue.stats import Statistics
from service.schema import migrate
from service.settings import Settings
from tests.citus.conftest import SHARDS as SHARD_COUNT
from tests.citus.conftest import Distributed
from tests.citus.test_citus import INSERT, move_shard_of, serving, until
from tests.citus.test_nodes import PROBED, senders_at, stopped
from tests.cli.programs import queuestats, sentence
from tests.conftest import open_pool

SENDER = 7
LOCAL = "SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on"
ROLE = "queuestats_service"
MIGRATE = "migrate"
# By condition: SQL that causes it on a node, with {shard} for one that is there, and SQL or `migrate` that ends it.
CAUSES = {
    "shard_triggers": ("ALTER TABLE messages_{shard} DISABLE TRIGGER local_deleted", MIGRATE),
    "shard_uncounted": ("UPDATE queuestats_local.shards SET is_counted = false WHERE shard = {shard}", MIGRATE),
    "shard_holds": (
        "INSERT INTO queuestats_local.arrived_shards (shard) VALUES ({shard}) ON CONFLICT DO NOTHING;"
        " UPDATE queuestats_local.arrived_shards SET arrived_at = now() - interval '2 minutes' WHERE shard = {shard}",
        "UPDATE queuestats_local.arrived_shards SET arrived_at = now()",
    ),
    "service_rights": (f"REVOKE SELECT ON queuestats_local.counters FROM {ROLE}", MIGRATE),
    "login": (f"ALTER ROLE {ROLE} NOLOGIN", f"ALTER ROLE {ROLE} LOGIN"),
    "login_ends": (
        f"DO $$ BEGIN EXECUTE format('ALTER ROLE {ROLE} VALID UNTIL %L', now() + interval '2 days'); END $$",
        f"ALTER ROLE {ROLE} VALID UNTIL 'infinity'",
    ),
    "time_limit": (
        f"ALTER ROLE {ROLE} IN DATABASE {{database}} SET statement_timeout = '1s'",
        f"ALTER ROLE {ROLE} IN DATABASE {{database}} RESET statement_timeout",
    ),
    "settings": (
        f"ALTER ROLE {ROLE} IN DATABASE {{database}} SET enable_indexscan = off",
        f"ALTER ROLE {ROLE} IN DATABASE {{database}} RESET enable_indexscan",
    ),
    "objects": ("DROP TABLE queuestats_local.deltas CASCADE", MIGRATE),
    "owner": (
        f"ALTER FUNCTION queuestats_local.compact OWNER TO {ROLE}",
        "ALTER FUNCTION queuestats_local.compact OWNER TO postgres; migrate",
    ),
    "exposed": ("GRANT EXECUTE ON FUNCTION queuestats_local.settle TO PUBLIC", MIGRATE),
    "autovacuum": (
        "ALTER TABLE queuestats_local.deltas SET (autovacuum_enabled = no)",
        "ALTER TABLE queuestats_local.deltas RESET (autovacuum_enabled)",
    ),
    "invalid_indexes": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'queuestats_local.counters_by_isp'::regclass",
        "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'queuestats_local.counters_by_isp'::regclass",
    ),
    "unlogged": (
        "ALTER TABLE queuestats_local.counters SET UNLOGGED",
        "ALTER TABLE queuestats_local.counters SET LOGGED",
    ),
    "pending": (
        "INSERT INTO queuestats_local.deltas SELECT '1', 1, 0, 0, '', 0, 0, 0, 0 FROM generate_series(1, 6000)",
        "DELETE FROM queuestats_local.deltas WHERE xid = '1'",
    ),
    "replica_identity": ("CREATE PUBLICATION ours FOR TABLE queuestats_local.deltas", "DROP PUBLICATION ours"),
    "schema": ("DELETE FROM queuestats_local.repeatable_migrations WHERE name = 'fold.sql'", MIGRATE),
}
# Found by tests of their own below; or by a statement without a place, which tests/health tests on one machine.
ELSEWHERE = {"shard_left", "standby", "old_snapshot", "server_fault", "server_version"}


async def verified(distributed: Distributed, sender_id: int | None = None, **options: Any) -> Verified:
    async with connect(distributed.owner_url) as connection:
        return await verify_database(connection, distributed.owner_url, sender_id, **options)


async def diagnosed(distributed: Distributed, *, is_quick: bool = False) -> list[Finding]:
    settings = Settings(database_url=distributed.service_url, admin_database_url=distributed.owner_url)
    async with connect(distributed.owner_url) as connection:
        return await diagnose(connection, distributed.owner_url, settings, is_quick=is_quick)


async def shard_of(sender_id: int, distributed: Distributed) -> tuple[int, int]:
    """The shard, and the number of its node."""
    shard = await distributed.run(f"SELECT get_shard_id_for_distribution_column('messages', {sender_id})")
    port = await distributed.run(f"SELECT nodeport FROM citus_shards WHERE shardid = {shard}")
    return shard, [each.port for each in distributed.nodes].index(port)


async def test_nothing_is_found_on_a_healthy_cluster(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    assert await diagnosed(distributed) == []
    assert await verified(distributed) == ([], [], [])


def test_each_condition_of_a_node_is_caused_by_a_test() -> None:
    assert CAUSES.keys() | ELSEWHERE == OF_NODE | {condition.name for condition in SHARDS} | {"schema"}


async def test_each_condition_of_a_node_is_found_there_until_it_ends(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    shard, node = await shard_of(SENDER, distributed)
    address = f"127.0.0.1:{distributed.nodes[node].port}"
    for condition, (cause, end) in CAUSES.items():
        places = {"shard": shard, "database": distributed.name}
        await distributed.execute(f"{LOCAL}; {cause.format_map(places)}", node)
        found = {(finding.condition, finding.node) for finding in await diagnosed(distributed)}
        assert (condition, address) in found
        if condition != "login":
            await until(partial(_is_served, distributed, (condition, address)))
        if sql := end.removesuffix(MIGRATE):
            await distributed.execute(f"{LOCAL}; {sql.format_map(places)}", node)
        if end.endswith(MIGRATE):
            await bring_up_nodes(distributed.owner_url, distributed.service_url, lambda what: None)
        # No service runs that would bring the holds of the shards that migrate has attached.
        for each in (1, 2):
            await distributed.execute("UPDATE queuestats_local.arrived_shards SET arrived_at = now()", each)
        assert await diagnosed(distributed) == [], condition
    assert await verified(distributed) == ([], [], [])


async def _is_served(distributed: Distributed, condition: tuple[str, str]) -> bool:
    """Whether the service finds it. On a busy machine, a node may take longer than the service waits for it."""
    async with open_pool(distributed.service_url) as service:
        statistics = Statistics(service, Settings(database_url=distributed.service_url))
        found = await Readiness(service, 1, statistics.warm_up).findings()
    return condition in {(finding.condition, finding.node) for finding in found}


async def test_every_condition_of_a_node_is_examined_on_every_node(distributed: Distributed) -> None:
    examined: list[tuple[str, str]] = []
    settings = Settings(database_url=distributed.service_url, admin_database_url=distributed.owner_url)
    async with connect(distributed.owner_url) as connection:
        await diagnose(connection, distributed.owner_url, settings, lambda *condition: examined.append(condition))
    wanted = {"node", "schema"} | OF_NODE | {condition.name for condition in SHARDS}
    for each in distributed.nodes[1:]:
        assert {name for name, node in examined if node == f"127.0.0.1:{each.port}"} == wanted


async def test_a_shard_that_has_left_its_counts_behind_is_found_until_they_are_deleted(
    distributed: Distributed,
) -> None:
    await distributed.run(INSERT.format(300))
    shard, source = await shard_of(SENDER, distributed)
    await move_shard_of(SENDER, distributed)
    found = {(finding.condition, finding.node): finding.finding for finding in await diagnosed(distributed)}
    assert f"shard {shard} has moved" in found["shard_left", f"127.0.0.1:{distributed.nodes[source].port}"]
    assert ("shard_triggers", f"127.0.0.1:{distributed.nodes[3 - source].port}") in found
    (left,) = (await verified(distributed)).not_compared
    assert (left.node, left.shard) == (f"127.0.0.1:{distributed.nodes[3 - source].port}", shard)
    await bring_up_nodes(distributed.owner_url, distributed.service_url, lambda what: None)
    assert await diagnosed(distributed) == []


async def test_a_shard_that_is_not_counted_is_not_compared_and_verify_says_so(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    given = {
        "QUEUESTATS_DATABASE_URL": distributed.service_url,
        "QUEUESTATS_ADMIN_DATABASE_URL": distributed.owner_url,
    }
    run = partial(queuestats, **given)
    shard, node = await shard_of(SENDER, distributed)
    await distributed.run(f"UPDATE queuestats_local.shards SET is_counted = false WHERE shard = {shard}", node)
    said = f"127.0.0.1:{distributed.nodes[node].port}, shard {shard}: it is not counted yet"
    for options in ((), ("--sender", str(SENDER))):
        done = run("verify", *options)
        assert done.returncode == 3, done.stderr
        assert done.stdout.splitlines() == [f"Not compared: {said}.", "No difference in what was compared."]
    listed = run("verify", "--json")
    assert listed.returncode == 3
    assert [row["not_compared"] for row in msgspec.json.decode(listed.stdout)] == [said]
    (other, *_) = await senders_at(distributed, 3 - node)
    assert run("verify", "--sender", str(other)).returncode == 0
    # A comparison of a part is no verify of all senders.
    entries = "SELECT count(*) FROM queuestats.audit_log WHERE action = 'verify'"
    assert await distributed.run(entries) == 0

    # A difference elsewhere is the worse outcome.
    await distributed.run(f"DELETE FROM queuestats_local.deltas WHERE sender_id = {other}", 3 - node)
    assert run("verify").returncode == 1
    done = run("verify", "--repair")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert await verified(distributed) == ([], [], [])
    assert await distributed.run(entries) == 2


async def test_a_node_that_does_not_respond_is_named_and_the_others_are_compared_and_examined(
    distributed: Distributed,
) -> None:
    await distributed.run(INSERT.format(300))
    (healthy, *_) = await senders_at(distributed, 1)
    await distributed.run(f"DELETE FROM queuestats_local.deltas WHERE sender_id = {healthy}", 1)
    address = f"127.0.0.1:{distributed.nodes[2].port}"
    settings = Settings(database_url=distributed.service_url)
    async with open_pool(distributed.service_url, **PROBED) as service:
        readiness = Readiness(service, settings.connections, Statistics(service, settings).warm_up)
        assert await readiness.findings() == []
        with stopped(distributed.nodes[2]):
            done = await verified(distributed)
            found = await diagnosed(distributed, is_quick=True)
            # The pool has connections to the node.
            other = Readiness(service, settings.connections, Statistics(service, settings).warm_up)
            served = await other.findings()
            assert await other.obstacles() == []
    assert {difference.sender_id for difference in done.left} == {healthy}
    assert [(each.node, each.shard) for each in done.not_compared] == [(address, None)]
    assert "does not answer in time" in done.not_compared[0].reason
    assert [(each.condition, each.node) for each in found] == [("node", address)]
    assert ("node", address) in {(each.condition, each.node) for each in served}


async def test_verify_ends_a_comparison_at_a_node_that_hangs_in_the_middle_of_it(distributed: Distributed) -> None:
    await distributed.run(INSERT.format(300))
    await distributed.execute(
        f"{LOCAL};"
        " CREATE OR REPLACE FUNCTION queuestats_local.unread_counts(of_sender bigint) RETURNS TABLE ("
        "sender_id bigint, grouping_set queuestats_local.grouping_set, account_id bigint, campaign_id bigint, isp text,"
        " new bigint, proc bigint, retry bigint, hold bigint) LANGUAGE plpgsql STABLE"
        " AS $$ BEGIN PERFORM pg_sleep(3600); END $$",
        2,
    )
    busy = "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%audit_shards%' AND wait_event = 'PgSleep'"
    comparing = asyncio.create_task(verified(distributed))
    await until(partial(distributed.run, busy, 2))
    with stopped(distributed.nodes[2]):
        async with asyncio.timeout(60):
            done = await comparing
    assert [each.node for each in done.not_compared] == [f"127.0.0.1:{distributed.nodes[2].port}"]
    assert done.differences == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE queuestats_local.repeatable_migrations SET hash = 'older' WHERE name = 'fold.sql'", "fold.sql"),
        ("ALTER TABLE queuestats_local.audit_log DROP COLUMN reason CASCADE", "the column audit_log.reason"),
        ("DROP TABLE queuestats_local.sender_totals CASCADE", "the table sender_totals"),
        ("DROP SCHEMA queuestats_local CASCADE", "the whole schema queuestats_local"),
    ],
)
async def test_migrate_says_what_is_missing_on_which_node_and_adds_it(
    distributed: Distributed, change: str, said: str
) -> None:
    await distributed.run(INSERT.format(300))
    await distributed.execute(f"{LOCAL}; {change}", 2)
    given = {
        "QUEUESTATS_DATABASE_URL": distributed.service_url,
        "QUEUESTATS_ADMIN_DATABASE_URL": distributed.owner_url,
    }
    done = queuestats("migrate", "--check", **given)
    assert done.returncode == 1
    assert f"schema at 127.0.0.1:{distributed.nodes[2].port}: to do: {said}." in done.stdout
    assert f":{distributed.nodes[1].port}" not in done.stdout
    assert queuestats("migrate", **given).returncode == 0
    assert queuestats("migrate", "--check", **given).returncode == 0
    assert await verified(distributed) == ([], [], [])


async def test_a_node_that_was_added_without_migrate_is_found_before_it_gets_a_shard(
    undistributed: Distributed,
) -> None:
    port = undistributed.nodes[2].port
    await undistributed.run(f"SELECT citus_remove_node('127.0.0.1', {port})")
    await distribute(undistributed.owner_url, SHARD_COUNT, lambda what: None)
    await bring_up_nodes(undistributed.owner_url, undistributed.service_url, lambda what: None)
    assert await diagnosed(undistributed) == []
    await undistributed.run(f"SELECT citus_add_node('127.0.0.1', {port})")
    (found,) = await diagnosed(undistributed, is_quick=True)
    assert (found.condition, found.node) == ("schema", f"127.0.0.1:{port}")
    await migrate(undistributed.owner_url, undistributed.service_url)
    await bring_up_nodes(undistributed.owner_url, undistributed.service_url, lambda what: None)
    assert await diagnosed(undistributed) == []


async def test_adopt_refuses_a_table_that_is_distributed_before_anything_is_changed(unmigrated: Distributed) -> None:
    await unmigrated.execute(
        "CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY, sender bigint, state text,"
        " PRIMARY KEY (sender, id)); SELECT create_distributed_table('outbox', 'sender')"
    )
    for options in ((), ("--attach",)):
        refused = queuestats(
            *("adopt", "--table", "public.outbox", "--sender", "sender", "--status", "state", *options),
            QUEUESTATS_DATABASE_URL=unmigrated.service_url,
            QUEUESTATS_ADMIN_DATABASE_URL=unmigrated.owner_url,
        )
        assert "outbox is distributed by Citus" in sentence(refused)
    assert await unmigrated.run("SELECT to_regnamespace('queuestats') IS NULL")


async def test_a_count_of_a_shard_that_takes_long_delays_no_fold(distributed: Distributed) -> None:
    """Neither on its own node nor on the other."""
    await distributed.run(INSERT.format(300))
    shard, node = await shard_of(SENDER, distributed)
    await distributed.execute(
        f"{LOCAL};"
        " CREATE FUNCTION public.take_long() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF current_query() LIKE '%settle%' THEN PERFORM pg_sleep(3600); END IF; RETURN NULL; END $$;"
        " CREATE TRIGGER slow BEFORE INSERT ON queuestats_local.deltas FOR EACH STATEMENT"
        " EXECUTE FUNCTION public.take_long();"
        f" UPDATE queuestats_local.shards SET is_counted = false WHERE shard = {shard}",
        node,
    )
    busy = "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%settle%' AND wait_event = 'PgSleep'"
    folded = "SELECT NOT EXISTS (SELECT FROM queuestats_local.deltas)"
    async with serving(distributed):
        await until(partial(distributed.run, busy, node))
        await distributed.run(INSERT.format(90))
        for each in (1, 2):
            await until(partial(distributed.run, folded, each))
        assert await distributed.run(busy, node)
    assert "uncounted" in await distributed.unproved(node)
