-- server_version: the tests do not run on this major release of PostgreSQL
-- parameters: none
SELECT /* conditions/server_version.sql */
  format('PostgreSQL %s is not among the versions 15 to 18', current_setting('server_version')) AS finding,
  NULL AS command
WHERE cast(current_setting('server_version_num') AS integer) NOT BETWEEN 150000 AND 189999
