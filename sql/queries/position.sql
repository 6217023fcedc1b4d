-- position: where the primary's log stands, in bytes from its beginning; all that was committed by now lies before
-- A transaction that does not wait for the disk (synchronous_commit = off) counts once it is there.
-- parameters: none
SELECT /* queries/position.sql */
  cast(pg_current_wal_flush_lsn() - '0/0' AS bigint) AS position
