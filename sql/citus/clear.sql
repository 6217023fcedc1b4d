-- clear: deletes the texts that the shards of a node are made of, and those that are run on them
-- parameters: none
WITH /* citus/clear.sql */ definitions AS (
  DELETE FROM queuestats_node.definitions
),

readers AS (
  DELETE FROM queuestats_node.readers
)

DELETE FROM queuestats_node.statements
