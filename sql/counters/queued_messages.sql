-- queued_messages: the messages as far as they are counted. The service's role reads this view and not the table, so it
-- sees no recipient.
-- Only the files of this folder know where the table is. `queuestats migrate` puts the schema of
-- QUEUESTATS_MESSAGES_SCHEMA in place of public in them.
CREATE OR REPLACE VIEW queuestats.queued_messages AS
SELECT sender_id, account_id, campaign_id, isp, status
FROM public.messages;

-- messages_table: the table itself, for statements that look it up in the catalog.
CREATE OR REPLACE FUNCTION queuestats.messages_table() RETURNS regclass
LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT to_regclass('public.messages')::regclass $$;
