-- applied_migrations: the schema's revision, and the hashes of the repeatable migrations that were run after it
-- The row `mapping` contains the mapping of an adopted table.
-- The conditions are always true. They make the planner use the indexes, as for all statements of the service's role.
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
