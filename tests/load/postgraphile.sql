-- What PostGraphile serves in the comparison: the sum of a sender's counters, as a function in a schema of its own.
CREATE SCHEMA competitor;
CREATE TYPE competitor.queue_total AS (new bigint, proc bigint, retry bigint, hold bigint, total bigint);
CREATE FUNCTION competitor.queue_total(sender_id bigint) RETURNS competitor.queue_total
LANGUAGE sql STABLE AS $$
    SELECT new, proc, retry, hold, new + proc + retry + hold
    FROM queuestats.read_total(sender_id, NULL, NULL, NULL)
$$;
