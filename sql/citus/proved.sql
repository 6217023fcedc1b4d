-- proved: a statement of queries/from_counters/ on a node, with the proof that the shards of its queries are there
-- A query whose shard is not proved has a last row without counts, which has the reason in place of an ISP. Both parts
-- are of one snapshot.
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
