-- hold_others: so many active holds of senders that have no message, with ids from that one on, and no others of them
-- parameters: first_id bigint, holds integer
WITH /* bench/hold_others.sql */ ended AS (
  DELETE FROM queuestats.holds WHERE sender_id >= cast(:first_id AS bigint)
)

INSERT INTO queuestats.holds (sender_id, reason, created_by)
SELECT
  cast(:first_id AS bigint) + number,
  'bench',
  'bench'
FROM generate_series(1, cast(:holds AS integer)) AS number
