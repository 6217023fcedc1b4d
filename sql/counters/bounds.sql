-- bounds: for each status of a sender, a time that none of its messages precedes. A look-up starts at this time, so it
-- does not visit the index entries of messages that have left.
--
-- In each snapshot, a message is not older than the visible bound of its status, or not older than `oldest` of a
-- visible delta that brought messages of that status: its count is above 0, or `came` has the status. The reasons:
-- 1. A message and its delta are committed together. The statement that deletes the delta lowers the bound.
-- 2. A fold, or set_bounds, raises a bound to the first message of its snapshot from the former bound on (infinity if
--    there is none). If a later snapshot sees a message, the message was either visible to the fold, and then it is not
--    older; or its transaction was not visible, and then its delta is not folded either.
-- 3. An older snapshot sees the former row.
-- 4. An update writes no delta only if the counts cancel out, one status came, and what left was as old.
-- 5. The bound of sender 0 applies to every sender without a row: -infinity until set_bounds was called for all
--    senders, then infinity. So a sender without messages needs no row.
-- 6. The triggers of former releases record no arrivals. The row of sender 0 is written under a lock that waits for
--    their writers. Without this row, there are no bounds.
-- places: schema, messages_oid, locked, message_status, has_created

-- require_arrivals: the error that arrivals raises.
CREATE OR REPLACE FUNCTION "{schema}".require_arrivals() RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RAISE EXCEPTION USING
    ERRCODE = 'QS400', MESSAGE = 'oldest is not known: the mapping of this queue does not name the time of arrival';
END
$$;

-- has_arrivals: whether the time of arrival is known: false for an adopted table whose mapping does not name it.
CREATE OR REPLACE FUNCTION "{schema}".has_arrivals() RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT "{has_created}" $$;

-- arrivals: one row with true, or an error (QS400) where the mapping of an adopted table names no time of arrival.
CREATE OR REPLACE FUNCTION "{schema}".arrivals() RETURNS TABLE (are_known boolean)
LANGUAGE sql STABLE AS $$ SELECT "{has_created}" OR "{schema}".require_arrivals() $$;

-- shown_time: a time limited to the years 1 to 9999 for responses, because RFC 3339 has no other years and no infinity.
CREATE OR REPLACE FUNCTION "{schema}".shown_time(at timestamp with time zone) RETURNS timestamp with time zone
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN at < timestamp with time zone '0001-01-01 Z' THEN timestamp with time zone '0001-01-01 Z'
    WHEN at > timestamp with time zone '9999-12-31 23:59:59.999999Z'
      THEN timestamp with time zone '9999-12-31 23:59:59.999999Z'
    ELSE at
  END
$$;

-- bound_of: the bounds of a sender. number: of its row; 0 if it has none.
-- A plain STABLE SQL function, inlined by the planner.
CREATE OR REPLACE FUNCTION "{schema}".bound_of(of_sender bigint) RETURNS TABLE (
  number bigint, new timestamp with time zone, proc timestamp with time zone, retry timestamp with time zone,
  hold timestamp with time zone
)
LANGUAGE sql STABLE ROWS 1 AS $$
  SELECT coalesce(own.number, 0), coalesce(own.new, others.new, '-infinity'),
         coalesce(own.proc, others.proc, '-infinity'), coalesce(own.retry, others.retry, '-infinity'),
         coalesce(own.hold, others.hold, '-infinity')
  FROM (VALUES (0)) AS one
    LEFT JOIN LATERAL (
      SELECT * FROM "{schema}".bounds WHERE sender_id = of_sender ORDER BY sender_id DESC, number DESC LIMIT 1
    ) AS own ON true
    LEFT JOIN "{schema}".bounds AS others ON others.sender_id = 0
$$;

-- first_of: the time of the first message of a status from a given time on, in the snapshot of the calling statement;
-- infinity if there is none. It uses the settings of its callers, because settings of its own would cost more than the
-- look-up.
CREATE OR REPLACE FUNCTION "{schema}".first_of(
  of_sender bigint, of_status "{message_status}", since timestamp with time zone
) RETURNS timestamp with time zone
LANGUAGE plpgsql STABLE AS $queuestats$
BEGIN
  IF since = 'infinity' THEN
    RETURN since;
  END IF;
  RETURN coalesce((SELECT created_at FROM "{schema}".oldest_message(of_sender, of_status, since)), 'infinity');
END
$queuestats$;

-- next_bound: the bounds of a sender after arrivals are folded: the least time of each status, in the order of the
-- enumeration. is_raised: the bounds are raised to the first existing messages. No row if they stay the same.
CREATE OR REPLACE FUNCTION "{schema}".next_bound(
  of_sender bigint, arrived timestamp with time zone[], is_raised boolean
) RETURNS TABLE (
  sender_id bigint, number bigint, new timestamp with time zone, proc timestamp with time zone,
  retry timestamp with time zone, hold timestamp with time zone
)
LANGUAGE plpgsql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  former record;
BEGIN
  SELECT * INTO former FROM "{schema}".bound_of(of_sender);
  sender_id := of_sender;
  number := former.number + 1;
  new := least(former.new, arrived[1]);
  proc := least(former.proc, arrived[2]);
  retry := least(former.retry, arrived[3]);
  hold := least(former.hold, arrived[4]);
  IF is_raised THEN
    new := "{schema}".first_of(of_sender, 'new', new);
    proc := "{schema}".first_of(of_sender, 'proc', proc);
    retry := "{schema}".first_of(of_sender, 'retry', retry);
    hold := "{schema}".first_of(of_sender, 'hold', hold);
  END IF;
  IF (new, proc, retry, hold) IS DISTINCT FROM (former.new, former.proc, former.retry, former.hold) THEN
    RETURN NEXT;
  END IF;
END
$$;

-- begin_bounds: from now on every writer records arrivals. The caller holds a lock that has waited for writers with
-- former functions.
CREATE OR REPLACE FUNCTION "{schema}".begin_bounds() RETURNS void
LANGUAGE sql AS $$
  INSERT INTO "{schema}".bounds (sender_id, number, new, proc, retry, hold)
  VALUES (0, 0, '-infinity', '-infinity', '-infinity', '-infinity')
  ON CONFLICT DO NOTHING
$$;

-- set_bounds: sets the bounds of one sender, or of all (NULL), from the messages. The caller holds the fold's lock.
CREATE OR REPLACE FUNCTION "{schema}".set_bounds(of_sender bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
  IF NOT "{has_created}" OR NOT EXISTS (
    SELECT FROM "{schema}".bounds WHERE sender_id = 0 AND (of_sender IS NULL OR new = 'infinity')
  ) THEN
    RETURN;
  END IF;
  DELETE FROM "{schema}".bounds WHERE sender_id = of_sender OR of_sender IS NULL;
  INSERT INTO "{schema}".bounds (sender_id, number, new, proc, retry, hold)
  SELECT counted.sender_id, 1, first.new, first.proc, first.retry, first.hold
  FROM (
    SELECT DISTINCT sender_id FROM "{schema}".counters
    WHERE grouping_set = 'total' AND (of_sender IS NULL OR sender_id = of_sender)
  ) AS counted
    CROSS JOIN LATERAL "{schema}".next_bound(
      counted.sender_id, ARRAY(SELECT timestamp with time zone '-infinity' FROM generate_series(1, 4)),
      is_raised => true
    ) AS first
  WHERE least(first.new, first.proc, first.retry, first.hold) < 'infinity';
  IF of_sender IS NULL THEN
    INSERT INTO "{schema}".bounds VALUES (0, 0, 'infinity', 'infinity', 'infinity', 'infinity');
  END IF;
END
$$;

-- earliest_bounds: the senders with the earliest bounds of a status (total: of any), after a time and a sender.
-- Plain STABLE SQL, inlined by the planner. Only the branch of the status is executed.
CREATE OR REPLACE FUNCTION "{schema}".earliest_bounds(
  of_status text, after timestamp with time zone, after_sender bigint, at_most bigint
) RETURNS TABLE (sender_id bigint, since timestamp with time zone)
LANGUAGE sql STABLE AS $$
  (SELECT sender_id, new FROM "{schema}".bounds
   WHERE of_status = 'new' AND new < 'infinity' AND (new, sender_id) > (after, after_sender)
   ORDER BY new, sender_id LIMIT at_most)
  UNION ALL
  (SELECT sender_id, proc FROM "{schema}".bounds
   WHERE of_status = 'proc' AND proc < 'infinity' AND (proc, sender_id) > (after, after_sender)
   ORDER BY proc, sender_id LIMIT at_most)
  UNION ALL
  (SELECT sender_id, retry FROM "{schema}".bounds
   WHERE of_status = 'retry' AND retry < 'infinity' AND (retry, sender_id) > (after, after_sender)
   ORDER BY retry, sender_id LIMIT at_most)
  UNION ALL
  (SELECT sender_id, hold FROM "{schema}".bounds
   WHERE of_status = 'hold' AND hold < 'infinity' AND (hold, sender_id) > (after, after_sender)
   ORDER BY hold, sender_id LIMIT at_most)
  UNION ALL
  (SELECT sender_id, least(new, proc, retry, hold) FROM "{schema}".bounds
   WHERE of_status = 'total' AND least(new, proc, retry, hold) < 'infinity'
     AND (least(new, proc, retry, hold), sender_id) > (after, after_sender)
   ORDER BY least(new, proc, retry, hold), sender_id LIMIT at_most)
$$;

-- raise_bounds: raises the bounds of max_senders senders to their first messages. It takes the senders with the
-- earliest bounds of a status, after a time and a sender (NULL, 0: from the first). Returns how many senders had bounds
-- that were too early, whether more may follow, and the time and the sender to continue from; no row while a fold, a
-- rebuild or a TRUNCATE is running.
-- A fold raises the bounds of some senders at random, and those of senders that have no message left. raise_bounds is
-- for the others: senders whose queues shrank in small steps. Locks and settings are those of fold.
CREATE OR REPLACE FUNCTION "{schema}".raise_bounds(
  of_status text, after timestamp with time zone, after_sender bigint, max_senders integer
) RETURNS TABLE (raised integer, is_more boolean, last_bound timestamp with time zone, last_sender bigint)
LANGUAGE plpgsql SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  IF ("{has_created}" AND NOT row_security_active("{messages_oid}")) IS NOT true THEN
    RETURN QUERY SELECT 0, false, NULL::timestamp with time zone, NULL::bigint;
    RETURN;
  END IF;
  BEGIN
    LOCK TABLE "{locked}" IN ACCESS SHARE MODE NOWAIT;
  EXCEPTION WHEN lock_not_available THEN
    RETURN;
  END;
  IF NOT "{schema}".take_fold_lock(is_waiting => false) THEN
    RETURN;
  END IF;
  PERFORM set_config('synchronous_commit', 'off', true);
  WITH earliest AS MATERIALIZED (
    SELECT * FROM "{schema}".earliest_bounds(of_status, coalesce(after, '-infinity'), after_sender, max_senders)
  ), next_bound AS MATERIALIZED (
    SELECT next.* FROM earliest
      CROSS JOIN LATERAL "{schema}".next_bound(earliest.sender_id, '{}', is_raised => true) AS next
  ), bounded AS (
    INSERT INTO "{schema}".bounds (sender_id, number, new, proc, retry, hold)
    SELECT * FROM next_bound WHERE least(new, proc, retry, hold) < 'infinity'
  ), unbounded AS (
    DELETE FROM "{schema}".bounds AS former USING next_bound AS next
    WHERE former.sender_id = next.sender_id AND former.number = next.number - 1
  )
  SELECT (SELECT count(*) FROM next_bound), count(*) OVER () = max_senders, since, sender_id
  INTO raised, is_more, last_bound, last_sender
  FROM earliest ORDER BY since DESC, sender_id DESC LIMIT 1;
  raised := coalesce(raised, 0);
  is_more := coalesce(is_more, false);
  RETURN NEXT;
END
$$;

-- bound_differences: how many messages of a sender and status a look-up from the bound on would miss; no row if the
-- bounds are right. Of one sender, or of all (NULL).
CREATE OR REPLACE FUNCTION "{schema}".bound_differences(of_sender bigint) RETURNS TABLE (
  sender_id bigint, status "{message_status}", missed bigint
) LANGUAGE plpgsql STABLE SET row_security = off SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
BEGIN
  IF NOT "{has_created}" THEN
    RETURN;
  END IF;
  RETURN QUERY
  SELECT message.sender_id, message.status, (
    SELECT count(*) FROM "{schema}".queued_messages
    WHERE sender_id = message.sender_id AND status = message.status AND created_at < since
  )
  FROM (
    SELECT sender_id, status, min(created_at) AS oldest FROM "{schema}".queued_messages
    WHERE (of_sender IS NULL OR sender_id = of_sender) AND status IN ('new', 'proc', 'retry', 'hold')
    GROUP BY sender_id, status
  ) AS message
    CROSS JOIN LATERAL (
      SELECT least(
               CASE message.status WHEN 'new' THEN new WHEN 'proc' THEN proc WHEN 'retry' THEN retry ELSE hold END,
               (SELECT min(oldest) FROM "{schema}".pending_deltas(message.sender_id, NULL, NULL, NULL)
                WHERE CASE message.status
                        WHEN 'new' THEN new > 0 OR came & 1 <> 0 WHEN 'proc' THEN proc > 0 OR came & 2 <> 0
                        WHEN 'retry' THEN retry > 0 OR came & 4 <> 0 ELSE hold > 0 OR came & 8 <> 0
                      END)
             ) AS since
      FROM "{schema}".bound_of(message.sender_id)
    ) AS bound
  WHERE message.oldest < since;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".begin_bounds() FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".next_bound(bigint, timestamp with time zone[], boolean) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".first_of(bigint, "{message_status}", timestamp with time zone) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".set_bounds(bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION "{schema}".raise_bounds(text, timestamp with time zone, bigint, integer) FROM PUBLIC;
