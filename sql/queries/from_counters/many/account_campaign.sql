-- account_campaign: as queries/from_counters/account_campaign.sql, for many askers at once; `position` numbers them
-- from 1 The arrays are of one length; an asker's rows stand together and in their order.
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- parameters: sender_id bigint[]
SELECT /* queries/from_counters/many/account_campaign.sql */
  asked.position,
  part.account_id,
  part.campaign_id,
  part.hold,
  '' AS isp,
  part.new,
  part.proc,
  part.retry,
  part.new + part.proc + part.retry + part.hold AS total
FROM
  unnest(
    cast(:sender_id AS bigint[])
  ) WITH ORDINALITY AS asked (sender_id, position)
  CROSS JOIN LATERAL queuestats.read_account_campaigns(asked.sender_id) AS part
ORDER BY asked.position, part.account_id, part.campaign_id
