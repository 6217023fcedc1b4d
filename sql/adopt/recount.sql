-- recount: as in counters/recount.sql, for an adopted table. verify compares the counts with it, and rebuild stores it.
-- It starts from the mapping's own expressions and shares no function with queued_messages and the triggers. So an
-- error in these shows up as a difference, and a repair does not repeat it. Of the number and the text of a key, one is
-- always NULL. It runs with the rights of its owner, because the service's role, which compares random senders, does
-- not read the table.
-- places: schema, sender_number, sender_text, account_number, account_text, campaign_number, campaign_text, own_isp, own_status, messages, own_where
CREATE OR REPLACE FUNCTION "{schema}".recount(of_sender bigint) RETURNS TABLE (
  sender_id bigint, grouping_set "{schema}".grouping_set, account_id bigint, campaign_id bigint, isp text,
  new bigint, proc bigint, retry bigint, hold bigint, other bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $queuestats$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT sender_id, "{schema}".grouping_set_of(GROUPING(account_id) = 0, GROUPING(campaign_id) = 0, GROUPING(isp) = 0),
         coalesce(account_id, 0), coalesce(campaign_id, 0), coalesce(isp, ''),
         "{schema}".counter_sum(new), "{schema}".counter_sum(proc),
         "{schema}".counter_sum(retry), "{schema}".counter_sum(hold), CAST(0 AS bigint)
  FROM (
    SELECT sender_id, account_id, campaign_id, isp,
           count(*) FILTER (WHERE status = 'new') AS new, count(*) FILTER (WHERE status = 'proc') AS proc,
           count(*) FILTER (WHERE status = 'retry') AS retry, count(*) FILTER (WHERE status = 'hold') AS hold
    FROM (
      SELECT
        CASE
          WHEN sender_text IS NULL THEN sender_number
          ELSE greatest(1, hashtextextended(sender_text, 0) & 9223372036854775807)
        END AS sender_id,
        CASE
          WHEN account_text IS NOT NULL THEN greatest(1, hashtextextended(account_text, 0) & 9223372036854775807)
          WHEN account_number > 0 THEN account_number
          ELSE 0
        END AS account_id,
        CASE
          WHEN campaign_text IS NOT NULL THEN greatest(1, hashtextextended(campaign_text, 0) & 9223372036854775807)
          WHEN campaign_number > 0 THEN campaign_number
          ELSE 0
        END AS campaign_id,
        CASE WHEN isp IS NULL THEN '' WHEN octet_length(isp) > 255 THEN substr(isp, 1, 63) ELSE isp END AS isp,
        status
      FROM (
        SELECT
          cast("{sender_number}" AS bigint) AS sender_number,
          cast("{sender_text}" AS text) COLLATE "C" AS sender_text,
          cast("{account_number}" AS bigint) AS account_number,
          cast("{account_text}" AS text) COLLATE "C" AS account_text,
          cast("{campaign_number}" AS bigint) AS campaign_number,
          cast("{campaign_text}" AS text) COLLATE "C" AS campaign_text,
          cast("{own_isp}" AS text) COLLATE "C" AS isp, cast("{own_status}" AS text) COLLATE "C" AS status
        FROM "{messages}" AS queuestats_row
        WHERE "{own_where}"
      ) AS own
    ) AS counted
    WHERE sender_id > 0 AND status IN ('new', 'proc', 'retry', 'hold')
      AND (recount.of_sender IS NULL OR sender_id = recount.of_sender)
    GROUP BY sender_id, account_id, campaign_id, isp
  ) AS by_key
  GROUP BY sender_id, CUBE (account_id, campaign_id, isp);
END
$queuestats$;

REVOKE EXECUTE ON FUNCTION "{schema}".recount(bigint) FROM PUBLIC;
