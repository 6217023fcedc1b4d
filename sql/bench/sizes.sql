-- sizes: the bytes of the table of messages and of each of its indexes, the biggest first
-- parameters: none
SELECT /* bench/sizes.sql */
  relation.relname AS name,
  pg_relation_size(relation.oid) AS bytes
FROM pg_class AS relation
WHERE relation.oid = cast('public.messages' AS regclass)
  OR relation.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = cast('public.messages' AS regclass))
ORDER BY bytes DESC, name
