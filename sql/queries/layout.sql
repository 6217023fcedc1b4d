-- layout: what stands where `migrate` is to build: our tables, those of a former version, or somebody else's
-- Always one row.
-- parameters: none
SELECT /* queries/layout.sql */
  NOT EXISTS (
    SELECT FROM pg_class WHERE oid = to_regclass('public.messages') AND relkind NOT IN ('r', 'p')
  ) AS messages_is_a_table,
  to_regclass('public.believed_horizons') IS NOT NULL AS is_former,
  to_regclass('queuestats.alembic_version') IS NULL
  AND EXISTS (
    SELECT FROM pg_class AS relation
      INNER JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
    WHERE namespace.nspname = 'queuestats'
  ) AS is_foreign
