-- isp: a sender's queue by ISP, in the order of the names' bytes
-- A filter that is NULL lets every message through.
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- parameters: sender_id bigint, account_id bigint, campaign_id bigint
SELECT /* queries/from_counters/isp.sql */
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  hold,
  isp,
  new,
  proc,
  retry,
  new + proc + retry + hold AS total
FROM
  queuestats.read_isps(
    cast(:sender_id AS bigint),
    cast(:account_id AS bigint),
    cast(:campaign_id AS bigint)
  )
ORDER BY isp
