-- wraparound: a database that has come too close to the end of its transaction ids
-- parameters: none
SELECT /* doctor/wraparound.sql */
  CASE WHEN age(datfrozenxid) > 1500000000 THEN 'error' ELSE 'warning' END AS severity,
  format('the oldest unfrozen row is %s transactions old', age(datfrozenxid)) AS finding,
  'VACUUM FREEZE the largest tables, and find out what holds autovacuum back.' AS advice
FROM pg_database
WHERE datname = current_database() AND age(datfrozenxid) > 1000000000
