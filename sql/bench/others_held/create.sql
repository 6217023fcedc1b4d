-- A hundred active holds of senders without messages. Their ids are far above those of any data set.
INSERT INTO queuestats.holds (sender_id, reason, created_by)
SELECT
  1000000000000 + number,
  'bench',
  'bench'
FROM generate_series(1, 100) AS number;
