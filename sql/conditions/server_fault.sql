-- server_fault: this minor release of PostgreSQL loses counts if a WITH contains a MERGE and another write
-- Before the minor releases of 12 February 2026, a MERGE into messages passed no rows to the triggers if another
-- statement of the same WITH wrote messages (PostgreSQL's release notes: "transition table capture for MERGE in CTE").
-- parameters: none
SELECT /* conditions/server_fault.sql */
  format('PostgreSQL %s can lose rows of a MERGE in a WITH', current_setting('server_version')) AS finding,
  NULL AS command
FROM (SELECT cast(current_setting('server_version_num') AS integer) AS number) AS server
WHERE server.number BETWEEN 150000 AND 150015
  OR server.number BETWEEN 160000 AND 160011
  OR server.number BETWEEN 170000 AND 170007
  OR server.number BETWEEN 180000 AND 180001
