-- scan: on the node that has the sender's shard, a statement of queries/from_messages/, counted or not
-- parameters: grouping text, sender_id bigint, account_id bigint, campaign_id bigint, isp text
SELECT /* queries/citus/scan.sql */
  cast(
    queuestats_node.run(
      'from_messages/' || cast(:grouping AS text), ARRAY[
        cast(cast(:sender_id AS bigint) AS text), cast(cast(:account_id AS bigint) AS text),
        cast(cast(:campaign_id AS bigint) AS text), cast(:isp AS text)
      ], ARRAY[queuestats_node.shard_of(cast(:sender_id AS bigint))], false
    ) AS text
  ) AS found
