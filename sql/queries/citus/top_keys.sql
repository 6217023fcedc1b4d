-- top_keys: on the node that has the sender's shard, what queries/top/keys.sql is on one machine
-- parameters: sender_id bigint, grouping_set text, largest_by text, row_limit bigint
SELECT /* queries/citus/top_keys.sql */
  cast(
    queuestats_node.run(
      'top/keys', ARRAY[
        cast(:largest_by AS text), cast(cast(:row_limit AS bigint) AS text),
        cast(cast(:sender_id AS bigint) AS text), cast(:grouping_set AS text)
      ], ARRAY[queuestats_node.shard_of(cast(:sender_id AS bigint))], true
    ) AS text
  ) AS found
