-- account: as queries/from_counters/account.sql, for many askers at once; `position` numbers them from 1
-- The arrays are of one length; an asker's rows stand together and in their order.
-- indexes: counters_by_isp, deltas_sender_id_xid, watermarks_pkey
-- parameters: sender_id bigint[], campaign_id bigint[], isp text[]
SELECT /* queries/from_counters/many/account.sql */
  asked.position,
  part.account_id,
  cast(0 AS bigint) AS campaign_id,
  part.hold,
  '' AS isp,
  part.new,
  part.proc,
  part.retry,
  part.new + part.proc + part.retry + part.hold AS total
FROM
  unnest(
    cast(:sender_id AS bigint[]),
    cast(:campaign_id AS bigint[]),
    cast(:isp AS text[])
  ) WITH ORDINALITY AS asked (sender_id, campaign_id, isp, position)
  CROSS JOIN LATERAL queuestats.read_accounts(asked.sender_id, asked.campaign_id, asked.isp) AS part
ORDER BY asked.position, part.account_id
