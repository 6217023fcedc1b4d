-- shard_holds: the holds and jobs of a shard that arrived more than a minute ago may still be on another node
-- places: schema
-- parameters: none
SELECT /* conditions/node/shard_holds.sql */
  format('the holds and jobs of shard %s may still be on another node', shard) AS finding,
  NULL AS command
FROM "{schema}".arrived_shards
WHERE arrived_at < now() - interval '1 minute'
ORDER BY shard
