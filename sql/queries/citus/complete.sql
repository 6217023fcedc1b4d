-- complete: on the node of the shard, marks its holds and jobs as complete, and begins a job for each hold
-- parameters: shard bigint, arrival bigint
SELECT /* queries/citus/complete.sql */
  queuestats_local.complete(cast(:shard AS bigint), cast(:arrival AS bigint)) AS is_complete
