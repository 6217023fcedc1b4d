-- baseline: whether the counters hold all messages; where they do not, the messages themselves are read
-- Of a distributed queue each shard has its own.
-- parameters: none
SELECT /* queries/baseline.sql */
  queuestats.is_proven() AS is_counted,
  queuestats.is_distributed() AS is_distributed
