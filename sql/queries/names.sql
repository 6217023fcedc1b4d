-- names: the texts of keys that are counted by a number in their place; an id without a text has no row
-- indexes: keys_pkey
-- parameters: ids bigint[]
SELECT /* queries/names.sql */ id, value FROM queuestats.keys
WHERE id = ANY(cast(:ids AS bigint[]))
