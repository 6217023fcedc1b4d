-- extensions: which of the extensions are there that let doctor say more
-- parameters: none
SELECT /* doctor/extensions.sql */ extname AS name
FROM pg_extension
WHERE extname = 'pg_stat_statements'
