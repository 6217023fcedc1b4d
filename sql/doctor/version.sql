-- version: a server that is older or newer than what this was tested with
-- parameters: none
SELECT /* doctor/version.sql */
  'warning' AS severity,
  format('PostgreSQL %s is not among the versions 15 to 18', current_setting('server_version')) AS finding,
  'Run one of them: the tests ran on no other.' AS advice
WHERE cast(current_setting('server_version_num') AS integer) NOT BETWEEN 150000 AND 189999
