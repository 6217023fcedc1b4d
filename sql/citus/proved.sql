-- proved: a statement of queries/from_counters/ on a node, with the proof that the node has the shards of its queries
-- For each query whose shard is not proved, it adds a row without counts that has the reason in place of an ISP. The
-- statement and the proof have the same snapshot.
-- nulls: a NULL for each column after the ISP.
-- places: schema, statement, parameters, nulls
-- parameters: "{parameters}"
SELECT /* citus/proved.sql */ found.*
FROM ("{statement}") AS found
UNION ALL
SELECT
  wanted.position,
  NULL, NULL, NULL, unproved.state, "{nulls}"
FROM unnest(cast(:shards AS bigint[])) WITH ORDINALITY AS wanted (shard, position)
  INNER JOIN "{schema}".unproved(cast(:shards AS bigint[])) AS unproved ON unproved.shard = wanted.shard
