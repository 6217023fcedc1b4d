-- applied_migrations: the schema's revision, the hash of every repeatable migration that was put into place after it,
-- and the mapping of an adopted table
-- The conditions are always true: they let the tables be read by index, as the service's role reads every table.
-- parameters: none
SELECT /* queries/applied_migrations.sql */ name, hash
FROM queuestats.repeatable_migrations
WHERE name >= ''
UNION ALL
SELECT 'revision', version_num
FROM queuestats.alembic_version
WHERE version_num >= ''
UNION ALL
SELECT 'mapping', cast(mapping AS text)
FROM queuestats.adopted
WHERE stands
