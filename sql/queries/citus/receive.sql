-- receive: on the node of the shard, stores rows that another node has of the shard
-- parameters: shard bigint, arrival bigint, kept_in text, kept text
SELECT /* queries/citus/receive.sql */
  queuestats_local.receive(
    cast(:shard AS bigint), cast(:arrival AS bigint), cast(:kept_in AS text), cast(:kept AS text)
  )
