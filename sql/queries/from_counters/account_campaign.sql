-- account_campaign: a sender's queue by account and campaign, in ascending order
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- parameters: sender_id bigint
SELECT /* queries/from_counters/account_campaign.sql */
  account_id,
  campaign_id,
  hold,
  '' AS isp,
  new,
  proc,
  retry,
  new + proc + retry + hold AS total
FROM
  queuestats.read_account_campaigns(
    cast(:sender_id AS bigint)
  )
ORDER BY account_id, campaign_id
