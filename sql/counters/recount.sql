-- recount: the truth, in the shape of the counters: one sender's messages (NULL: all senders') by every grouping.
CREATE OR REPLACE FUNCTION public.recount(of_sender bigint) RETURNS TABLE (
  sender_id bigint, "grouping" smallint, account_id bigint, campaign_id bigint, isp text,
  new bigint, proc bigint, retry bigint, hold bigint
) LANGUAGE sql STABLE AS $$
  SELECT sender_id, GROUPING(account_id, campaign_id, isp)::smallint,
         coalesce(account_id, 0), coalesce(campaign_id, 0), coalesce(isp, ''),
         public.counter_sum(new), public.counter_sum(proc), public.counter_sum(retry), public.counter_sum(hold)
  FROM (
    SELECT sender_id, account_id, campaign_id, isp,
           count(*) FILTER (WHERE status = 'new') AS new, count(*) FILTER (WHERE status = 'proc') AS proc,
           count(*) FILTER (WHERE status = 'retry') AS retry, count(*) FILTER (WHERE status = 'hold') AS hold
    FROM public.messages
    WHERE of_sender IS NULL OR sender_id = of_sender
    GROUP BY sender_id, account_id, campaign_id, isp
  ) AS by_key
  GROUP BY sender_id, CUBE (account_id, campaign_id, isp)
$$;

-- pending: the deltas in the same shape: all that there are, or those that a reader takes, from the sender's horizon
-- on.
CREATE OR REPLACE FUNCTION public.pending(of_sender bigint, is_from_horizon boolean) RETURNS TABLE (
  sender_id bigint, "grouping" smallint, account_id bigint, campaign_id bigint, isp text,
  new bigint, proc bigint, retry bigint, hold bigint
) LANGUAGE sql STABLE AS $$
  SELECT sender_id, GROUPING(account_id, campaign_id, isp)::smallint,
         coalesce(account_id, 0), coalesce(campaign_id, 0), coalesce(isp, ''),
         public.counter_sum(new), public.counter_sum(proc), public.counter_sum(retry), public.counter_sum(hold)
  FROM public.deltas LEFT JOIN public.believed_horizons USING (sender_id)
  WHERE (of_sender IS NULL OR sender_id = of_sender)
    AND (NOT is_from_horizon OR horizon IS NULL OR xid >= horizon)
  GROUP BY sender_id, CUBE (account_id, campaign_id, isp)
$$;
