-- uncount: marks the shards of a node as not counted, after a table of its counts was created again
-- places: schema
-- parameters: none
UPDATE /* citus/uncount.sql */ "{schema}".shards
SET is_counted = false
WHERE is_counted
