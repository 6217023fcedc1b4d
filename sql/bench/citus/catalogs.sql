-- catalogs: adds nodes that do not exist, with 32 shards each, to the catalogs of a coordinator: to be rolled back
-- parameters: nodes integer
WITH /* bench/citus/catalogs.sql */ node AS (
  INSERT INTO pg_dist_node (nodeid, groupid, nodename)
  SELECT
    1000 + number,
    1000 + number,
    'node' || number
  FROM generate_series(1, cast(:nodes AS integer)) AS number
),

shard AS (
  INSERT INTO pg_dist_shard (logicalrelid, shardid, shardstorage, shardminvalue, shardmaxvalue)
  SELECT
    to_regclass('public.messages'), 10000000 + number, 't',
    cast(number AS text), cast(number AS text)
  FROM generate_series(1, 32 * cast(:nodes AS integer)) AS number
)

INSERT INTO pg_dist_placement (placementid, shardid, shardstate, shardlength, groupid)
SELECT
  10000000 + number, 10000000 + number, 1, 0,
  1001 + number % cast(:nodes AS integer)
FROM generate_series(1, 32 * cast(:nodes AS integer)) AS number
