-- required: a statement of queries/top/ on a node, or an error where the counts of the shards can't be read there
-- shards: those that it reads; NULL: all of the node
-- places: schema, statement, parameters
-- parameters: "{parameters}"
SELECT /* citus/required.sql */ found.*
FROM ("{statement}") AS found
WHERE (SELECT "{schema}".require_proved(cast(:shards AS bigint[])))
