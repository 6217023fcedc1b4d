-- The function that PostGraphile serves in the comparison: the sum of the counters of a sender, in its own schema.
CREATE SCHEMA competitor;
CREATE TYPE competitor.queue_total AS (new bigint, proc bigint, retry bigint, hold bigint, total bigint);
CREATE FUNCTION competitor.queue_total(sender_id bigint) RETURNS competitor.queue_total
LANGUAGE sql STABLE AS $$
    SELECT queuestats.counter_sum(new), queuestats.counter_sum(proc), queuestats.counter_sum(retry), queuestats.counter_sum(hold), queuestats.counter_sum(new + proc + retry + hold)
    FROM (
        SELECT new, proc, retry, hold FROM queuestats.current_counters(sender_id, 'total') WHERE account_id >= 0
        UNION ALL
        SELECT new, proc, retry, hold FROM queuestats.pending_deltas(sender_id, NULL, NULL, NULL)
    ) AS part
$$;
