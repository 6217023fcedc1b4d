-- isp: as queries/from_counters/isp.sql, for many askers at once; `position` numbers them from 1
-- The arrays are of one length; an asker's rows stand together and in their order.
-- indexes: counters_by_account, deltas_sender_id_xid, watermarks_pkey
-- parameters: sender_id bigint[], account_id bigint[], campaign_id bigint[]
SELECT /* queries/from_counters/many/isp.sql */
  asked.position,
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  part.hold,
  part.isp,
  part.new,
  part.proc,
  part.retry,
  part.new + part.proc + part.retry + part.hold AS total
FROM
  unnest(
    cast(:sender_id AS bigint[]),
    cast(:account_id AS bigint[]),
    cast(:campaign_id AS bigint[])
  ) WITH ORDINALITY AS asked (sender_id, account_id, campaign_id, position)
  CROSS JOIN LATERAL queuestats.read_isps(asked.sender_id, asked.account_id, asked.campaign_id) AS part
ORDER BY asked.position, part.isp
