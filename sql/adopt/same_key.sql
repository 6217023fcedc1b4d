-- same_key: a key that several queued rows share, or that is missing in a row; no row if the key identifies every row
-- places: id, key, messages, condition
-- parameters: none
SELECT /* adopt/same_key.sql */ key
FROM (
  SELECT
    "{id}" AS id,
    cast("{key}" AS text) AS key
  FROM "{messages}"
  WHERE "{condition}"
) AS mapped
GROUP BY id, key
HAVING count(*) > 1 OR key IS NULL
LIMIT 1
