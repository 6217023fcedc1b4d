-- insert: as many messages of each sender, spread over `keys` pairs of an account and an ISP, at most 35
-- parameters: senders bigint[], messages integer, keys integer
INSERT /* bench/citus/insert.sql */ INTO messages (sender_id, account_id, isp, recipient)
SELECT
  sender.id,
  message.number % cast(:keys AS integer) % 7,
  'isp ' || message.number % cast(:keys AS integer) % 5,
  'x'
FROM unnest(cast(:senders AS bigint[])) AS sender (id)
  CROSS JOIN generate_series(1, cast(:messages AS integer)) AS message (number)
