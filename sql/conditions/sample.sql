-- sample: the counts of a few senders, taken at random, differ from a recount of their messages
-- parameters: none
SELECT /* conditions/sample.sql */
  format('%s counts of sender %s differ from a recount of its messages', count(*), sample.sender_id) AS finding,
  format('queuestats verify --sender %s --repair', sample.sender_id) AS command
FROM queuestats.random_senders(20) AS sample (sender_id)
  CROSS JOIN LATERAL queuestats.audit(sample.sender_id)
GROUP BY sample.sender_id
ORDER BY sample.sender_id
LIMIT 10
