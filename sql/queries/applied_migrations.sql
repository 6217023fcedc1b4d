-- applied_migrations: the schema's revision and the hash of every repeatable migration that was put into place after it
-- The conditions are always true: they let the tables be read by index, as the service's role reads every table.
-- parameters: none
SELECT /* queries/applied_migrations.sql */ name, hash
FROM queuestats.repeatable_migrations
WHERE name >= ''
UNION ALL
SELECT 'revision', version_num
FROM queuestats.alembic_version
WHERE version_num >= ''
