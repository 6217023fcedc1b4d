-- insert_bursts: the messages of some bursts; each burst is one element of every array
-- A message follows only from its id, its burst and the salt, so neither the size of a chunk nor the plan matters.
-- Random numbers come from integer arithmetic within a bigint: the results of random(), setseed and the hash functions
-- may differ between versions of PostgreSQL, a product never does. `upto_*`: the limits of the draw (of 2^36) below
-- which a message is new, in delivery, or waiting for a retry; above the last one it is held. The other columns take
-- the low bits.
-- `due_ats` are the 128 times at which retries are due; to select one is cheaper than to add an interval.
-- OFFSET 0 makes PostgreSQL compute the draw once, and not once for each column that uses it.
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
  -- Messages are held before their first attempt as often as after later attempts.
  CASE
    WHEN draw < upto_new THEN 0
    WHEN draw < upto_proc THEN past_attempts
    WHEN draw & 1024 > 0 THEN past_attempts
    WHEN draw < upto_retry THEN past_attempts + 1
    ELSE 0
  END,
  -- Duplicates are rare: with an odd salt, x * (x + salt) modulo a power of two takes no value more than twice.
  to_hex(draw)
  || CASE WHEN draw & 2048 > 0 THEN '@example.com' WHEN draw & 4096 > 0 THEN '@example.net' ELSE '@example.org' END,
  created_at,
  CASE
    WHEN draw < upto_new THEN created_at
    -- The next attempt of a message that is being retried was due just now.
    WHEN draw < upto_proc THEN CASE WHEN past_attempts > 1 THEN cast(:as_of AS timestamptz) ELSE created_at END
    WHEN draw < upto_retry OR draw & 1024 > 0 THEN (cast(:due_ats AS timestamptz[]))[1 + (draw >> 13 & 127)]
    ELSE created_at
  END
FROM (
  -- The square makes neighbours differ, whereas a linear sequence would repeat its pattern every few messages. Then the
  -- middle bits of a product are used, because its ends are less mixed. No value exceeds 2^63, and there is no slow
  -- division.
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
