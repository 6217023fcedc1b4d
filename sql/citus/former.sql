-- former: the statements that drop the schemas of former releases, which had one for each shard
-- The first statement drops the schema queuestats_node, whose functions created the others. It also clears the triggers
-- in shards, so that settle() attaches the shards again and makes them children of the parent.
-- parameters: none
SELECT /* citus/former.sql */
  format('DROP SCHEMA %I CASCADE', nspname)
  || CASE nspname WHEN 'queuestats_node' THEN '; UPDATE queuestats_local.shards SET triggers = ''{}''' ELSE '' END
    AS statement
FROM pg_namespace
WHERE nspname = 'queuestats_node' OR nspname ~ '^queuestats_[0-9]+$'
ORDER BY nspname <> 'queuestats_node', nspname
