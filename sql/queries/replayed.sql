-- replayed: up to where a replica has replayed the primary's log, and the age of the last transaction in there
-- Run before a question on the same connection: the snapshot of that question holds at least as much. `position` is
-- NULL on a server that is no replica, `age_seconds` where none was replayed since its start; it goes by two clocks.
-- parameters: none
SELECT /* queries/replayed.sql */
  CASE WHEN pg_is_in_recovery() THEN cast(pg_last_wal_replay_lsn() - '0/0' AS bigint) END AS position,
  CASE
    WHEN pg_is_in_recovery()
      THEN cast(extract(EPOCH FROM clock_timestamp() - pg_last_xact_replay_timestamp()) AS double precision)
  END AS age_seconds
