-- former: the statements that drop the schemas of former releases, one for each shard, and first the one that made them
-- The first statement also makes settle() attach the shards again, to the parent.
-- parameters: none
SELECT /* citus/former.sql */
  format('DROP SCHEMA %I CASCADE', nspname)
  || CASE nspname WHEN 'queuestats_node' THEN '; UPDATE queuestats_local.shards SET triggers = ''{}''' ELSE '' END
    AS statement
FROM pg_namespace
WHERE nspname = 'queuestats_node' OR nspname ~ '^queuestats_[0-9]+$'
ORDER BY nspname <> 'queuestats_node', nspname
