-- shard_left: a shard has moved to another node, or a move of it did not end, and its counts are still here
-- places: schema
-- parameters: none
SELECT /* conditions/node/shard_left.sql */
  CASE state
    WHEN 'moving' THEN format('shard %s is being moved', shard)
    ELSE format('shard %s has moved, and its counts are not deleted yet', shard)
  END AS finding,
  NULL AS command
FROM "{schema}".unproved("{schema}".known())
WHERE state IN ('moving', 'moved') AND NOT pg_is_in_recovery()
ORDER BY shard
