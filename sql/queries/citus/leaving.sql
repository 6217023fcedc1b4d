-- leaving: some of the holds, jobs and entries of the log that this node has of a shard that is on another node
-- It returns rows of one table as JSON, and no row if nothing is left. It raises QS409 if the shard is on this node.
-- parameters: shard bigint, low integer, high integer
SELECT /* queries/citus/leaving.sql */ kept_in, kept
FROM queuestats_local.leaving(cast(:shard AS bigint), cast(:low AS integer), cast(:high AS integer))
