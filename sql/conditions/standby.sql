-- standby: the database is in recovery
-- parameters: none
SELECT /* conditions/standby.sql */
  'the database is a standby, whose data is late' AS finding,
  NULL AS command
WHERE pg_is_in_recovery()
