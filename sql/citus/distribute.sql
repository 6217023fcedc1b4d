-- distribute: makes messages a distributed table with shard_count shards by sender
-- It runs in a transaction that holds ACCESS EXCLUSIVE on messages, so writers wait until the rows are copied.
-- parameters: shard_count integer
SELECT /* citus/distribute.sql */
  create_distributed_table(
    'public.messages', 'sender_id', shard_count => cast(:shard_count AS integer), colocate_with => 'none'
  )
