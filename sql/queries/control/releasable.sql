-- releasable: how many messages a release would change: those on hold that no other active hold matches
-- The release ends the hold hold_id or, if that is NULL, the holds whose filter is its own or narrower.
-- indexes: messages_sender_id_status, holds_sender_id
-- parameters: sender_id bigint, account_id bigint, campaign_id bigint, isp text, hold_id bigint
SELECT /* queries/control/releasable.sql */ count(*) AS hold
FROM queuestats.messages_of(ARRAY[cast(:sender_id AS bigint)]) AS message
WHERE status = 'hold'
  AND (cast(:account_id AS bigint) IS NULL OR account_id = cast(:account_id AS bigint))
  AND (cast(:campaign_id AS bigint) IS NULL OR campaign_id = cast(:campaign_id AS bigint))
  AND (cast(:isp AS text) IS NULL OR isp = cast(:isp AS text))
  AND NOT EXISTS (
    SELECT
    FROM queuestats.holds AS other
    WHERE other.sender_id = message.sender_id
      AND (other.account_id IS NULL OR other.account_id = message.account_id)
      AND (other.campaign_id IS NULL OR other.campaign_id = message.campaign_id)
      AND (other.isp IS NULL OR other.isp = message.isp)
      AND NOT coalesce(CASE
        WHEN cast(:hold_id AS bigint) IS NOT NULL THEN other.id = cast(:hold_id AS bigint)
        ELSE (cast(:account_id AS bigint) IS NULL OR other.account_id = cast(:account_id AS bigint))
          AND (cast(:campaign_id AS bigint) IS NULL OR other.campaign_id = cast(:campaign_id AS bigint))
          AND (cast(:isp AS text) IS NULL OR other.isp = cast(:isp AS text))
      END, false)
  )
