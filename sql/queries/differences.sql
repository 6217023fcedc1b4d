-- differences: every count that the service would answer wrongly, beside a recount; no row where all is exact
-- In the same transaction, before it, LOCK TABLE messages IN ACCESS SHARE MODE: see sql/counters/audit.sql.
-- places: schema
-- parameters: sender_id bigint
SELECT /* queries/differences.sql */ *
FROM "{schema}".audit(cast(:sender_id AS bigint))
