-- keys: texts of an adopted table have the same number, and are counted as one sender, account or campaign
-- A row of keys with a negative id is such a text: see sql/adopt/names.sql.
-- parameters: none
SELECT /* conditions/keys.sql */
  format('the keys %s and %s have the same number, %s, and are counted as one', one.value, other.value, one.id)
    AS finding,
  'queuestats adopt --attach' AS command
FROM queuestats.keys AS other
  INNER JOIN queuestats.keys AS one ON one.id = -other.id
WHERE other.id < 0
ORDER BY one.id
LIMIT 10
