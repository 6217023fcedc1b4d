-- isp: a sender's queue by ISP, from the indexes of held and of other messages
-- parameters: sender_id bigint
SELECT /* candidates/partial_indexes/isp.sql */
  cast(0 AS bigint) AS account_id,
  cast(0 AS bigint) AS campaign_id,
  cast(sum(hold) AS bigint) AS hold,
  isp,
  cast(sum(new) AS bigint) AS new,
  cast(sum(proc) AS bigint) AS proc,
  cast(sum(retry) AS bigint) AS retry,
  cast(sum(hold + new + proc + retry) AS bigint) AS total
FROM (
  SELECT
    isp,
    count(*) FILTER (WHERE status = 'new') AS new,
    count(*) FILTER (WHERE status = 'proc') AS proc,
    count(*) FILTER (WHERE status = 'retry') AS retry,
    0 AS hold
  FROM messages
  WHERE sender_id = cast(:sender_id AS bigint) AND status <> 'hold'
  GROUP BY isp
  UNION ALL
  SELECT
    isp,
    0,
    0,
    0,
    count(*)
  FROM messages
  WHERE sender_id = cast(:sender_id AS bigint) AND status = 'hold'
  GROUP BY isp
) AS part
GROUP BY isp
ORDER BY isp
