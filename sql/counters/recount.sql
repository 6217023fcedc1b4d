-- recount: the recount in the shape of the counters: the messages of one sender, or of all (NULL), by every grouping
-- set. `other`: messages of a status other than the four, which nothing counts.
-- A plain function that is inlined into its callers. They are planned for their sender, and set row_security = off, so
-- that a policy that hides messages from the owner causes an error and not a smaller count.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".recount(of_sender bigint) RETURNS TABLE (
  sender_id bigint, grouping_set "{schema}".grouping_set, account_id bigint, campaign_id bigint, isp text,
  new bigint, proc bigint, retry bigint, hold bigint, other bigint
) LANGUAGE sql STABLE AS $$
  SELECT sender_id, "{schema}".grouping_set_of(GROUPING(account_id) = 0, GROUPING(campaign_id) = 0, GROUPING(isp) = 0),
         coalesce(account_id, 0), coalesce(campaign_id, 0), coalesce(isp, ''),
         "{schema}".counter_sum(new), "{schema}".counter_sum(proc),
         "{schema}".counter_sum(retry), "{schema}".counter_sum(hold),
         "{schema}".counter_sum(total - new - proc - retry - hold)
  FROM (
    SELECT sender_id, account_id, campaign_id, isp,
           count(*) FILTER (WHERE status = 'new') AS new, count(*) FILTER (WHERE status = 'proc') AS proc,
           count(*) FILTER (WHERE status = 'retry') AS retry, count(*) FILTER (WHERE status = 'hold') AS hold,
           count(*) AS total
    FROM "{schema}".queued_messages
    WHERE of_sender IS NULL OR sender_id = of_sender
    GROUP BY sender_id, account_id, campaign_id, isp
  ) AS by_key
  GROUP BY sender_id, CUBE (account_id, campaign_id, isp)
$$;
