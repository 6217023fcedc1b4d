-- differences: every wrong count of the service, with the recounted value; no row if all counts are right
-- Before it, run LOCK TABLE messages IN ACCESS SHARE MODE in the same transaction: see sql/counters/audit.sql.
-- places: schema
-- parameters: sender_id bigint
SELECT /* queries/differences.sql */ *
FROM "{schema}".audit(cast(:sender_id AS bigint))
