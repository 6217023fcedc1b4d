-- preview: the effect of a release or a purge
-- releasable: the number of messages that a release would change; NULL for a purge. left_holds, left_messages: the
-- holds, and their messages, that would stay because the token may not end these holds. hold_id: the hold that a
-- release ends, in place of a filter.
-- places: schema
-- parameters: action text, sender_id bigint, account_id bigint, campaign_id bigint, isp text, hold_id bigint, sender_limits bigint[], account_limits bigint[]
SELECT /* queries/control/preview.sql */ releasable, left_holds, left_messages
FROM "{schema}".preview_job(
    cast(:action AS text), cast(:sender_id AS bigint), cast(:account_id AS bigint), cast(:campaign_id AS bigint),
    cast(:isp AS text), cast(:hold_id AS bigint), cast(:sender_limits AS bigint[]), cast(:account_limits AS bigint[])
  )
