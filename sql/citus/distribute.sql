-- distribute: messages becomes a distributed table, shard_count shards by sender. Part of a transaction that holds
-- ACCESS EXCLUSIVE on messages: writers wait until its rows are copied.
-- parameters: shard_count integer
SELECT /* citus/distribute.sql */
  create_distributed_table(
    'public.messages', 'sender_id', shard_count => cast(:shard_count AS integer), colocate_with => 'none'
  )
