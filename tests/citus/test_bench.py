"""`queuestats bench cluster` in its smallest size: every figure is measured, and nothing is left behind."""

import pytest

from service.settings import Settings
from service.workbench.bench.cluster import COORDINATOR, NODE, PLAIN, THRESHOLDS, measure_cluster
from service.workbench.bench.report import markdown
from tests.citus.conftest import Distributed
from tests.cli.programs import queuestats, sentence

# The figures of one side: the others have both sides, and a ratio.
OF_ONE_SIDE = {
    "idle settle": NODE,
    "longest response while nothing moves": NODE,
    "median response while a shard is copied": NODE,
    "longest response while a shard is copied": NODE,
    "addresses of the nodes": COORDINATOR,
    "places of the shards": COORDINATOR,
    "fold and settle, in the service's process": NODE,
}
for nodes in ("10", "100", "1,000"):
    OF_ONE_SIDE |= dict.fromkeys(
        (f"addresses of the nodes, {nodes} nodes", f"places of the shards, {nodes} nodes"), COORDINATOR
    )


async def databases(database: Distributed) -> list[str]:
    return [
        await database.run("SELECT array_agg(datname ORDER BY datname) FROM pg_database", node) for node in (0, 1, 2)
    ]


async def test_every_figure_is_measured_and_every_scratch_database_dropped(
    unmigrated: Distributed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.workbench.bench.cluster_costs.MESSAGES_MOVED", 2000)
    await unmigrated.execute(f"COMMENT ON DATABASE {unmigrated.name} IS 'queuestats: disposable'")
    before = await databases(unmigrated)
    settings = Settings(database_url=unmigrated.service_url, admin_database_url=unmigrated.owner_url)
    report = await measure_cluster(settings, print, shards=6, rounds=1, senders=20)

    assert await databases(unmigrated) == before
    environment = report["environment"]
    assert (environment["nodes"], environment["shards"], environment["shards_of_the_node"]) == (2, 6, 3)
    assert environment["command"] == "queuestats bench cluster --shards 6 --rounds 1 --senders 20"
    rows = {row["figure"]: row for row in report["results"]}
    assert rows.keys() >= THRESHOLDS.keys() | OF_ONE_SIDE.keys()
    for figure, row in rows.items():
        measured = {side for side in (PLAIN, NODE, COORDINATOR) if row[side] is not None}
        expected = {OF_ONE_SIDE[figure]} if figure in OF_ONE_SIDE else {PLAIN, NODE}
        assert expected <= measured <= expected | {COORDINATOR}
        assert (row["ratio"] is None) == (figure in OF_ONE_SIDE)
        assert f"| {figure} |" in markdown(report)


async def test_only_a_disposable_database_of_a_coordinator_is_accepted(unmigrated: Distributed) -> None:
    def run(owner_url: str) -> str:
        addresses = {"QUEUESTATS_DATABASE_URL": unmigrated.service_url, "QUEUESTATS_ADMIN_DATABASE_URL": owner_url}
        return sentence(queuestats("bench", "cluster", "--shards", "6", **addresses))

    assert "not marked disposable" in run(unmigrated.owner_url)
    assert "addresses of a database on a Citus coordinator" in sentence(queuestats("bench", "cluster"))
    mark = f"COMMENT ON DATABASE {unmigrated.name} IS 'queuestats: disposable'"
    await unmigrated.execute(f"SET citus.enable_ddl_propagation = off; {mark}", node=1)
    assert "not that of a Citus coordinator" in run(unmigrated.at(unmigrated.nodes[1]))
