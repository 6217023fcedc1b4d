-- version: a server that this was not tested with, or one with a fault that loses counts
-- Before the minor releases of 12 February 2026, a MERGE into messages beside another statement of the same WITH that
-- writes messages reached the triggers without its rows (PostgreSQL's release notes: "transition table capture for
-- MERGE in CTE").
-- parameters: none
SELECT /* doctor/version.sql */
  CASE WHEN server.number BETWEEN 150000 AND 189999 THEN 'error' ELSE 'warning' END AS severity,
  CASE
    WHEN server.number BETWEEN 150000 AND 189999
      THEN format('PostgreSQL %s loses rows of a MERGE beside another WITH', current_setting('server_version'))
    ELSE format('PostgreSQL %s is not among the versions 15 to 18', current_setting('server_version'))
  END AS finding,
  CASE
    WHEN server.number BETWEEN 150000 AND 189999
      THEN 'Update to 15.16, 16.12, 17.8, 18.2 or later; until then write no such statement to messages.'
    ELSE 'Run one of them: the tests ran on no other.'
  END AS advice
FROM (SELECT cast(current_setting('server_version_num') AS integer) AS number) AS server
WHERE server.number NOT BETWEEN 150000 AND 189999
  OR server.number BETWEEN 150000 AND 150015
  OR server.number BETWEEN 160000 AND 160011
  OR server.number BETWEEN 170000 AND 170007
  OR server.number BETWEEN 180000 AND 180001
