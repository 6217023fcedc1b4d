-- layout: what stands where `migrate` is to build: our tables, those of a former version, or somebody else's
-- `other_schema`: where messages stands, if that is another schema than the one given. Always one row.
-- parameters: messages_schema text
SELECT /* queries/layout.sql */
  NOT EXISTS (
    SELECT FROM pg_class
    WHERE relnamespace = to_regnamespace(quote_ident(cast(:messages_schema AS text)))
      AND relname = 'messages' AND relkind NOT IN ('r', 'p')
  ) AS messages_is_a_table,
  to_regclass('public.believed_horizons') IS NOT NULL AS is_former,
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
