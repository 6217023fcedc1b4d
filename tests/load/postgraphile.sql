-- What PostGraphile serves in `queuestats bench http`: the sum of a sender's counters, as a function of a schema of its
-- own. The folder's other files are statements; this one and its opposite, postgraphile_drop.sql, are run whole. Until
-- the counters are installed it scans.
BEGIN;
DROP SCHEMA IF EXISTS postgraphile_rival CASCADE;
CREATE SCHEMA postgraphile_rival;
CREATE TYPE postgraphile_rival.queue_total AS (new bigint, proc bigint, retry bigint, hold bigint, total bigint);
DO $rival$
BEGIN
    IF to_regprocedure('queuestats.read_total(bigint, bigint, bigint, text)') IS NULL THEN
        CREATE FUNCTION postgraphile_rival.queue_total(sender_id bigint) RETURNS postgraphile_rival.queue_total
        LANGUAGE sql STABLE AS $$
            SELECT count(*) FILTER (WHERE status = 'new'), count(*) FILTER (WHERE status = 'proc'),
                count(*) FILTER (WHERE status = 'retry'), count(*) FILTER (WHERE status = 'hold'), count(*)
            FROM public.messages AS queued
            WHERE queued.sender_id = queue_total.sender_id
        $$;
    ELSE
        CREATE FUNCTION postgraphile_rival.queue_total(sender_id bigint) RETURNS postgraphile_rival.queue_total
        LANGUAGE sql STABLE AS $$
            SELECT new, proc, retry, hold, new + proc + retry + hold
            FROM queuestats.read_total(sender_id, NULL, NULL, NULL)
        $$;
    END IF;
END
$rival$;
COMMIT;
