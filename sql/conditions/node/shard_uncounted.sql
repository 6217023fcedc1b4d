-- shard_uncounted: a shard has its triggers, and its messages are not counted yet
-- places: schema
-- parameters: none
SELECT /* conditions/node/shard_uncounted.sql */
  format('shard %s is not counted yet', shard) AS finding,
  NULL AS command
FROM "{schema}".unproved("{schema}".known())
WHERE state = 'uncounted'
ORDER BY shard
