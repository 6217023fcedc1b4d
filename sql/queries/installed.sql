-- installed: the schema's revision and the hash of every part that `migrate` put into place after it
-- parameters: none
SELECT /* queries/installed.sql */ part, hash
FROM installed
UNION ALL
SELECT 'revision', version_num
FROM alembic_version
