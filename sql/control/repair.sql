-- held_differences: the holds of one sender (NULL: of all senders) whose rows of held_messages do not match the
-- messages. kept: the number of rows. counted: the number of rows whose message is on hold, while the hold is active or
-- its release is not done.
-- No row: every held message has its hold, and every row its message.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".held_differences(of_sender bigint) RETURNS TABLE (
  sender_id bigint, hold_id bigint, kept bigint, counted bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET row_security = off SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT * FROM (
    SELECT held.sender_id, held.hold_id, count(*) AS kept, count(message.id) FILTER (
        WHERE held.hold_id IN (SELECT id FROM "{schema}".holds)
          OR held.hold_id IN (SELECT unnest(ended_holds) FROM "{schema}".jobs WHERE finished_at IS NULL)
      ) AS counted
    FROM "{schema}".held_messages AS held
      LEFT JOIN "{schema}".queued_messages AS message
        ON message.sender_id = held.sender_id AND message.id = held.id AND message.status = 'hold'
    WHERE of_sender IS NULL OR held.sender_id = of_sender
    GROUP BY held.sender_id, held.hold_id
  ) AS compared
  WHERE kept <> counted;
END
$$;

-- repair_held: deletes the rows of held_messages without a message on hold, and begins a release of messages that are
-- on hold under no hold. Messages that a former release held get the number 0 as their hold.
CREATE OR REPLACE FUNCTION "{schema}".repair_held(of_sender bigint, by_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET row_security = off SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
  job "{schema}".jobs;
BEGIN
  DELETE FROM "{schema}".held_messages AS held
  WHERE (of_sender IS NULL OR held.sender_id = of_sender) AND NOT EXISTS (
    SELECT FROM "{schema}".queued_messages AS message
    WHERE message.sender_id = held.sender_id AND message.id = held.id AND message.status = 'hold'
  );
  UPDATE "{schema}".held_messages SET hold_id = 0
  WHERE hold_id IS NULL AND (of_sender IS NULL OR sender_id = of_sender);
  FOR job IN
    INSERT INTO "{schema}".jobs
      (action, sender_id, hold_id, ended_holds, requested_by_kind, requested_by, request_id)
    SELECT 'release', sender_id, hold_id, ARRAY[hold_id], 'command', by_name, ''
    FROM "{schema}".held_differences(of_sender)
    RETURNING *
  LOOP
    PERFORM "{schema}".log_job(job, 'release', 'verify --repair');
  END LOOP;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".held_differences(bigint), "{schema}".repair_held(bigint, text) FROM PUBLIC;
