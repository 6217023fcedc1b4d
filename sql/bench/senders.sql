-- senders: every sender with its messages, the biggest first
-- One pass over the whole queue: for benchmarks, which want to know what they will be answered.
-- parameters: none
SELECT /* bench/senders.sql */
  sender_id,
  count(*) AS messages
FROM messages
GROUP BY sender_id
ORDER BY messages DESC, sender_id
