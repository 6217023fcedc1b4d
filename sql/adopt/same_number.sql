-- same_number: two texts of keys with the same number; no row if there are none
-- key_id in adopt/queued_messages.sql computes the number.
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
