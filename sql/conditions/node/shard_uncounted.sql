-- shard_uncounted: the table of a shard has its triggers, but its messages are not counted yet
-- places: schema
-- parameters: none
SELECT /* conditions/node/shard_uncounted.sql */
  format('shard %s is not counted yet', shard) AS finding,
  NULL AS command
FROM "{schema}".unproved("{schema}".known())
WHERE state = 'uncounted'
ORDER BY shard
