-- applied_migrations: the schema's revision and the hash of every repeatable migration that was put into place after it
-- parameters: none
SELECT /* queries/applied_migrations.sql */ name, hash
FROM queuestats.repeatable_migrations
UNION ALL
SELECT 'revision', version_num
FROM queuestats.alembic_version
