-- total: what the filters leave of a sender's queue, in one row that is there for an empty queue too
-- A filter that is NULL lets every message through.
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- parameters: sender_id bigint, account_id bigint, campaign_id bigint, isp text
SELECT /* queries/from_counters/total.sql */
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  hold,
  '' AS isp,
  new,
  proc,
  retry,
  new + proc + retry + hold AS total
FROM
  queuestats.read_total(
    cast(:sender_id AS bigint),
    cast(:account_id AS bigint),
    cast(:campaign_id AS bigint),
    cast(:isp AS text)
  )
