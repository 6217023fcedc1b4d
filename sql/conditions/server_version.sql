-- server_version: a major release of PostgreSQL that the tests do not run on
-- parameters: none
SELECT /* conditions/server_version.sql */
  format('PostgreSQL %s is not among the versions 15 to 18', current_setting('server_version')) AS finding,
  NULL AS command
WHERE cast(current_setting('server_version_num') AS integer) NOT BETWEEN 150000 AND 189999
