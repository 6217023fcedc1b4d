-- disposable: whether this database is migrated and is marked disposable, and the statement that marks it
-- The mark is the database's comment, because its owner may set it (a custom setting would need a superuser), and
-- because no option of a connection can fake it.
-- parameters: none
SELECT /* queries/disposable.sql */
  datname AS database,
  to_regclass('queuestats.repeatable_migrations') IS NOT NULL AS is_migrated,
  EXISTS(
    SELECT FROM pg_proc
    WHERE proname IN ('mapped_messages', 'message_of') AND pronamespace = to_regnamespace('queuestats')
  ) AS is_adopted,
  coalesce(shobj_description(oid, 'pg_database') = 'queuestats: disposable', false) AS disposable,
  format('COMMENT ON DATABASE %I IS ''queuestats: disposable''', datname) AS marking
FROM pg_database
WHERE datname = current_database()
