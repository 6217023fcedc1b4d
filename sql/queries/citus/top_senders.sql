-- top_senders: on a node of a cluster, what queries/top/senders.sql is on one machine: of each shard that is there
-- parameters: largest_by text, row_limit bigint
SELECT /* queries/citus/top_senders.sql */
  cast(
    queuestats_node.run(
      'top/senders', ARRAY[cast(:largest_by AS text), cast(cast(:row_limit AS bigint) AS text)],
      ARRAY(SELECT queuestats_node.placed()), true
    ) AS text
  ) AS found
