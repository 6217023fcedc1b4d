-- standby: the database is in recovery
-- parameters: none
SELECT /* conditions/standby.sql */
  'the database is a standby, whose answers would be late' AS finding,
  NULL AS command
WHERE pg_is_in_recovery()
