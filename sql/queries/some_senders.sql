-- some_senders: random senders of moderate size, whose reports verify compares with their definition
-- parameters: none
SELECT /* queries/some_senders.sql */ sender_id
FROM queuestats.sender_totals
WHERE total <= 100000 AND sender_id > 0
ORDER BY random()
LIMIT 20
