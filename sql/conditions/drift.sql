-- drift: the counts of senders were found to be wrong, and these senders have not been recounted yet
-- parameters: none
SELECT /* conditions/drift.sql */
  format('sender %s: %s counts differed from a recount at %s', sender_id, differences, found_at) AS finding,
  format('queuestats verify --sender %s --repair', sender_id) AS command
FROM queuestats.drift
ORDER BY found_at DESC, sender_id
LIMIT 10
