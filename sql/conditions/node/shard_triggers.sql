-- shard_triggers: the table of a shard lacks triggers that count, or one was disabled, enabled again or replaced
-- places: schema
-- parameters: none
SELECT /* conditions/node/shard_triggers.sql */
  format('the table messages_%s lacks triggers that count, or one was disabled or enabled by hand', shard) AS finding,
  NULL AS command
FROM "{schema}".unproved("{schema}".known())
WHERE state = 'unattached'
ORDER BY shard
