-- names: the texts of adopted keys for their numbers; an id without a text has no row
-- indexes: keys_pkey
-- parameters: ids bigint[]
SELECT /* queries/names.sql */ id, value FROM queuestats.keys
WHERE id = ANY(cast(:ids AS bigint[]))
