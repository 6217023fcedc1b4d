-- insert_bursts: the messages of some bursts, each of which is one element of every array
-- A message follows from its id, its burst and the salt alone, so neither the size of a chunk nor a plan matters.
-- All chance is whole-number arithmetic within a bigint: what random(), setseed and the hash functions give may differ
-- between two versions of PostgreSQL, a product never does. `upto_*` say below which draw (of 2^36) a message is new,
-- in delivery, or waiting for a retry; from the last on it is held. The other columns take low bits.
-- `due_ats` are the 128 times at which retries are due; picking one is cheaper than adding an interval.
-- OFFSET 0 keeps the draw, which many columns use, from being worked out once for each.
-- parameters: salt bigint, as_of timestamptz, due_ats timestamptz[], first_ids bigint[], sizes bigint[], sender_ids bigint[], account_ids bigint[], campaign_ids bigint[], created_ats timestamptz[], upto_news bigint[], upto_procs bigint[], upto_retries bigint[], attempts integer[]
INSERT /* seed/insert_bursts.sql */ INTO messages
(id, sender_id, account_id, campaign_id, isp, status, attempts, recipient, created_at, next_attempt_at)
SELECT
  id,
  sender_id,
  account_id,
  campaign_id,
  -- Of 1024: Gmail has 40 %, and 2 % have no known ISP.
  CASE
    WHEN draw & 1023 < 410 THEN 'Gmail'
    WHEN draw & 1023 < 553 THEN 'Outlook'
    WHEN draw & 1023 < 666 THEN 'Yahoo'
    WHEN draw & 1023 < 748 THEN 'iCloud'
    WHEN draw & 1023 < 799 THEN 'GMX'
    WHEN draw & 1023 < 840 THEN 'AOL'
    WHEN draw & 1023 < 881 THEN 'Web.de'
    WHEN draw & 1023 < 912 THEN 'Orange'
    WHEN draw & 1023 < 943 THEN 'Comcast'
    WHEN draw & 1023 < 963 THEN 'Libero'
    WHEN draw & 1023 < 983 THEN 'Proton'
    WHEN draw & 1023 < 1003 THEN 'Seznam'
    ELSE ''
  END,
  CASE
    WHEN draw < upto_new THEN cast('new' AS message_status)
    WHEN draw < upto_proc THEN 'proc'
    WHEN draw < upto_retry THEN 'retry'
    ELSE 'hold'
  END,
  -- A message is held before its first attempt as often as after some.
  CASE
    WHEN draw < upto_new THEN 0
    WHEN draw < upto_proc THEN past_attempts
    WHEN draw & 1024 > 0 THEN past_attempts
    WHEN draw < upto_retry THEN past_attempts + 1
    ELSE 0
  END,
  -- Hardly ever twice the same: modulo a power of two, x * (x + salt) takes no value more than twice, salt being odd.
  to_hex(draw)
  || CASE WHEN draw & 2048 > 0 THEN '@example.com' WHEN draw & 4096 > 0 THEN '@example.net' ELSE '@example.org' END,
  created_at,
  CASE
    WHEN draw < upto_new THEN created_at
    -- The next attempt of what is being tried again was due just now.
    WHEN draw < upto_proc THEN CASE WHEN past_attempts > 1 THEN cast(:as_of AS timestamptz) ELSE created_at END
    WHEN draw < upto_retry OR draw & 1024 > 0 THEN (cast(:due_ats AS timestamptz[]))[1 + (draw >> 13 & 127)]
    ELSE created_at
  END
FROM (
  -- The square keeps neighbours unlike each other, where a linear sequence would repeat its pattern every few messages;
  -- then the middle of a product, because its ends are less mixed. Nothing here is above 2^63, nor a slow division.
  SELECT *, (id * (id + cast(:salt AS bigint)) & 2147483647) * 3266489917 >> 8 & 68719476735 AS draw
  FROM (
    SELECT
      sender_id, account_id, campaign_id, created_at, upto_new, upto_proc, upto_retry, past_attempts,
      generate_series(first_id, first_id + size - 1) AS id
    FROM
      unnest(
        cast(:first_ids AS bigint[]), cast(:sizes AS bigint[]), cast(:sender_ids AS bigint[]),
        cast(:account_ids AS bigint[]), cast(:campaign_ids AS bigint[]), cast(:created_ats AS timestamptz[]),
        cast(:upto_news AS bigint[]), cast(:upto_procs AS bigint[]), cast(:upto_retries AS bigint[]),
        cast(:attempts AS integer[])
      ) AS burst (
        first_id, size, sender_id, account_id, campaign_id, created_at, upto_new, upto_proc, upto_retry, past_attempts
      )
  ) AS numbered
  OFFSET 0
) AS drawn
