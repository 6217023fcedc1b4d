-- account: a sender's queue by account, in ascending order
-- A filter that is NULL lets every message through.
-- indexes: counters_by_isp, deltas_sender_id_xid, watermarks_pkey
-- parameters: sender_id bigint, campaign_id bigint, isp text
SELECT /* queries/from_counters/account.sql */
  account_id,
  cast(0 AS bigint) AS campaign_id,
  hold,
  '' AS isp,
  new,
  proc,
  retry,
  new + proc + retry + hold AS total
FROM
  queuestats.read_accounts(
    cast(:sender_id AS bigint),
    cast(:campaign_id AS bigint),
    cast(:isp AS text)
  )
ORDER BY account_id
