-- account_campaign_of_isp: one ISP's part of a sender's queue by account and campaign, in ascending order
-- indexes: counters_by_isp, deltas_sender_id_xid, watermarks_pkey
-- parameters: sender_id bigint, isp text
SELECT /* queries/from_counters/account_campaign_of_isp.sql */
  account_id,
  campaign_id,
  hold,
  '' AS isp,
  new,
  proc,
  retry,
  new + proc + retry + hold AS total
FROM
  queuestats.read_account_campaigns_of_isp(
    cast(:sender_id AS bigint),
    cast(:isp AS text)
  )
ORDER BY account_id, campaign_id
