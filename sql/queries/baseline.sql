-- baseline: whether the counters hold all messages; until they do, the messages themselves are read
-- Of a distributed queue each shard has its own. `uncountable` says why neither can be trusted, where the table is one
-- that the triggers can't count.
-- parameters: none
SELECT /* queries/baseline.sql */
  EXISTS(SELECT FROM queuestats.baseline WHERE stands) AS stands,
  queuestats.is_distributed() AS is_distributed,
  (SELECT string_agg(reason, '; ') FROM queuestats.uncountable_messages() AS reason) AS uncountable
