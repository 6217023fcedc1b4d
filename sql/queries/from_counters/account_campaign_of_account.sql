-- account_campaign_of_account: one account's queue by campaign, in ascending order
-- A filter that is NULL lets every message through.
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- parameters: sender_id bigint, account_id bigint, isp text
SELECT /* queries/from_counters/account_campaign_of_account.sql */
  cast(:account_id AS bigint) AS account_id,
  campaign_id,
  hold,
  '' AS isp,
  new,
  proc,
  retry,
  new + proc + retry + hold AS total
FROM
  queuestats.read_campaigns(
    cast(:sender_id AS bigint),
    cast(:account_id AS bigint),
    cast(:isp AS text)
  )
ORDER BY campaign_id
