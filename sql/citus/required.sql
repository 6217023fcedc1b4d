-- required: a statement of queries/top/ on a node, or an error where the counts of the shards can't be read there
-- shards: those that it reads; NULL: all of the node
-- places: schema, statement, parameters
-- parameters: shards bigint[], "{parameters}"
SELECT found.*
FROM ("{statement}") AS found
WHERE (SELECT "{schema}".require_proved(cast(:shards AS bigint[])))
