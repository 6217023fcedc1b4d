-- keys: texts of an adopted table that have the same number, and so are counted as one sender, account or campaign
-- A row of keys with a negative id is such a text: see sql/adopt/names.sql.
-- parameters: none
SELECT /* doctor/keys.sql */
  'error' AS severity,
  format('the keys %s and %s have the same number, %s, and are counted as one', one.value, other.value, one.id)
    AS finding,
  'Write one of them in another way in the mapping, and run queuestats adopt --attach.' AS advice
FROM queuestats.keys AS other
  INNER JOIN queuestats.keys AS one ON one.id = -other.id
WHERE other.id < 0
ORDER BY one.id
LIMIT 10
