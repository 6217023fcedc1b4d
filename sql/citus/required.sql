-- required: a statement of queries/ on a node; an error if the counts of its shards can't be read on the node
-- shards: the shards that the statement reads. are_all: whether these must be all shards of the node.
-- places: schema, statement, parameters
-- parameters: are_all boolean, "{parameters}"
SELECT /* citus/required.sql */ found.*
FROM ("{statement}") AS found
WHERE (SELECT "{schema}".require_proved(cast(:shards AS bigint[]), cast(:are_all AS boolean)))
