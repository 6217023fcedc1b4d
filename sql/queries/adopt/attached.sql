-- attached: the table that is counted in this database, its triggers and indexes of queuestats, and how it is counted
-- The table is found by its triggers or, without triggers, by the mapping. `queue` is NULL if nothing is counted.
-- `drop_triggers`, `drop_name_triggers`: the statements that drop all of them, and those that drop the triggers for
-- names; NULL if there are none.
-- `is_begun`: an adoption was interrupted before it stored its mapping. `is_gone`: the table was dropped or renamed.
-- parameters: none
WITH /* queries/adopt/attached.sql */ called AS (
  SELECT trigger.tgrelid AS queue, trigger.tgname AS name
  FROM pg_trigger AS trigger
    INNER JOIN pg_proc AS function ON function.oid = trigger.tgfoid
  WHERE NOT trigger.tgisinternal
    AND trigger.tgparentid = 0
    AND function.pronamespace = to_regnamespace('queuestats')
    AND function.proname LIKE 'record\_%'
),

counted AS (
  SELECT
    coalesce(
      (SELECT min(cast(queue AS oid)) FROM called),
      cast(to_regclass((SELECT cast(mapping AS jsonb) ->> 'queue' FROM queuestats.adopted)) AS oid)
    ) AS queue
)

SELECT
  relation.name AS queue,
  (SELECT string_agg(format('DROP TRIGGER %I ON %s', called.name, relation.name), '; ') FROM called) AS drop_triggers,
  (
    SELECT string_agg(format('DROP TRIGGER %I ON %s', called.name, relation.name), '; ')
    FROM called
    WHERE starts_with(called.name, 'messages_named')
  ) AS drop_name_triggers,
  ARRAY(
    SELECT
      format(
        'DROP INDEX %s%I.%I', CASE WHEN relation.is_partitioned THEN '' ELSE 'CONCURRENTLY ' END,
        namespace.nspname, class.relname
      )
    FROM pg_index AS index
      INNER JOIN pg_class AS class ON class.oid = index.indexrelid
      INNER JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE index.indrelid = counted.queue AND class.relname IN ('queuestats_message_id', 'queuestats_arrival')
  ) AS drop_indexes,
  relation.is_partitioned,
  EXISTS(SELECT FROM queuestats.adopted) AS is_adopted,
  to_regclass('queuestats.messages') IS NOT NULL AS is_begun,
  EXISTS(
    SELECT FROM queuestats.adopted
    WHERE to_regclass(cast(mapping AS jsonb) ->> 'queue') IS NULL
  ) AS is_gone
FROM counted
  LEFT JOIN (
    SELECT
      pg_class.oid,
      pg_class.relkind = 'p' AS is_partitioned,
      format('%I.%I', nspname, relname) AS name
    FROM pg_class
      INNER JOIN pg_namespace ON pg_namespace.oid = relnamespace
  ) AS relation ON relation.oid = counted.queue
