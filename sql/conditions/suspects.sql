-- suspects: the counters of senders contradict each other; the check reads all counters, but no messages
-- parameters: none
SELECT /* conditions/suspects.sql */
  format('the counters of sender %s contradict each other', sender_id) AS finding,
  format('queuestats verify --sender %s --repair', sender_id) AS command
FROM queuestats.suspect_senders() AS suspect (sender_id)
ORDER BY sender_id
LIMIT 10
