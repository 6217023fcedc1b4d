-- layout: the tables in the schemas of `migrate`: those of queuestats, of a former version, or of another application
-- `is_former`: whether version 0.1.0 created them; `migrate` moves these.
-- `refusal`: why `migrate` does not change the database, NULL if it does. Always one row.
-- parameters: messages_schema text
SELECT /* queries/layout.sql */
  is_foreign,
  is_former,
  CASE
    WHEN NOT messages_is_a_table
      THEN
        'The queue can''t be counted: messages is a view or a foreign table.'
    WHEN is_former AND cast(:messages_schema AS text) <> 'public'
      THEN format(
          'QUEUESTATS_MESSAGES_SCHEMA is %s, and messages of this database is in public.',
          cast(:messages_schema AS text)
        )
    WHEN has_part_of_former AND NOT is_former
      THEN
        'The schema public has only some of the objects of version 0.1.0, and was not changed: complete'
        ' `queuestats migrate` of 0.1.0, and then run this one.'
    WHEN is_adoption_begun AND NOT is_former AND cast(:messages_schema AS text) <> 'queuestats'
      THEN
        'An adoption of this database was interrupted: run `queuestats adopt --attach` again, or `adopt --detach`.'
    WHEN other_schema IS NOT NULL
      THEN format(
          'QUEUESTATS_MESSAGES_SCHEMA is %s, and messages of this database is in %s.',
          cast(:messages_schema AS text), other_schema
        )
    WHEN is_foreign
      THEN
        'The schema queuestats of this database belongs to another application, and was not changed: rename it, or'
        ' choose another database.'
  END AS refusal
FROM (
  SELECT
    NOT EXISTS (
      SELECT FROM pg_class
      WHERE relnamespace = to_regnamespace(quote_ident(cast(:messages_schema AS text)))
        AND relname = 'messages' AND relkind NOT IN ('r', 'p')
    ) AS messages_is_a_table,
    to_regclass('public.believed_horizons') IS NOT NULL AS has_part_of_former,
    (
      SELECT count(*) = 4
      FROM pg_trigger AS kept
        INNER JOIN pg_attribute AS scopes ON scopes.attrelid = to_regclass('public.tokens')
      WHERE scopes.attname = 'scopes'
        AND kept.tgrelid = to_regclass('public.messages')
        AND kept.tgname IN ('messages_inserted', 'messages_updated', 'messages_deleted', 'messages_truncated')
        AND to_regclass('public.believed_horizons') IS NOT NULL
    ) AS is_former,
    to_regclass('queuestats.alembic_version') IS NOT NULL
    AND to_regclass('queuestats.messages') IS NOT NULL AS is_adoption_begun,
    to_regclass('queuestats.alembic_version') IS NULL
    AND EXISTS (
      SELECT FROM pg_class AS relation
        INNER JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
      WHERE namespace.nspname = 'queuestats'
    ) AS is_foreign,
    (
      SELECT cast(base.relnamespace::regnamespace AS text)
      FROM pg_depend AS used
        INNER JOIN
          pg_rewrite AS rule
          ON rule.oid = used.objid AND rule.ev_class = to_regclass('queuestats.queued_messages')
        INNER JOIN pg_class AS base ON base.oid = used.refobjid AND base.relname = 'messages'
      WHERE base.relnamespace <> coalesce(to_regnamespace(quote_ident(cast(:messages_schema AS text))), 0)
      LIMIT 1
    ) AS other_schema
) AS layout
