-- leave: on the node that had these rows before, deletes the rows that the node of the shard has stored
-- parameters: shard bigint, low integer, high integer, kept_in text, kept text
SELECT /* queries/citus/leave.sql */
  queuestats_local.leave(
    cast(:shard AS bigint), cast(:low AS integer), cast(:high AS integer), cast(:kept_in AS text),
    cast(:kept AS text)
  )
