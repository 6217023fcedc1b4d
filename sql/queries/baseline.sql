-- baseline: whether the counters include all messages, and whether the queue is distributed
-- In a distributed queue each shard has its own baseline.
-- parameters: none
SELECT /* queries/baseline.sql */
  queuestats.is_proven() AS is_counted,
  queuestats.is_distributed() AS is_distributed
