-- A hundred active holds of senders without messages. The ids of these senders are above all ids of the data sets.
INSERT INTO queuestats.holds (sender_id, reason, created_by)
SELECT
  1000000000000 + number,
  'bench',
  'bench'
FROM generate_series(1, 100) AS number;
