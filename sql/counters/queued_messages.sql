-- queued_messages: the messages as far as they are counted. The service's role reads this view and not the table, so it
-- sees no recipient. Only this file and the triggers know where the table is.
CREATE OR REPLACE VIEW queuestats.queued_messages AS
SELECT sender_id, account_id, campaign_id, isp, status
FROM public.messages;
