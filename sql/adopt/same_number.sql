-- same_number: two texts of keys that are counted by the same number; no row where there are none
-- The number is that of key_id in adopt/queued_messages.sql.
-- places: names, messages, condition
-- parameters: none
SELECT /* adopt/same_number.sql */
  min(named.word) AS one,
  max(named.word) AS other
FROM (
  SELECT unnest(ARRAY["{names}"]) AS word
  FROM "{messages}"
  WHERE "{condition}"
) AS named
GROUP BY greatest(hashtextextended(named.word COLLATE "C", 0) & 9223372036854775807, 1)
HAVING min(named.word) <> max(named.word)
LIMIT 1
