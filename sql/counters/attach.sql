-- The triggers on messages. ENABLE ALWAYS: they also count what a session writes with session_replication_role =
-- replica. Apart from their functions, because this takes a lock that writers wait for: run it with a short
-- lock_timeout and try again. One trigger for each event, because PostgreSQL refuses transition tables for several
-- events at once.
-- The lock comes before the proof is checked: it waits for a transaction that has disabled a trigger. In a DO block,
-- because LOCK TABLE alone is an error outside a transaction.
DO $$ BEGIN LOCK TABLE public.messages IN SHARE ROW EXCLUSIVE MODE; END $$;
SELECT queuestats.forget_unproven();

CREATE OR REPLACE TRIGGER messages_inserted AFTER INSERT ON public.messages
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION queuestats.record_insert();

CREATE OR REPLACE TRIGGER messages_updated AFTER UPDATE ON public.messages
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION queuestats.record_update();

CREATE OR REPLACE TRIGGER messages_deleted AFTER DELETE ON public.messages
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION queuestats.record_delete();

CREATE OR REPLACE TRIGGER messages_truncated AFTER TRUNCATE ON public.messages
FOR EACH STATEMENT EXECUTE FUNCTION queuestats.record_truncate();

ALTER TABLE public.messages
ENABLE ALWAYS TRIGGER messages_inserted, ENABLE ALWAYS TRIGGER messages_updated,
ENABLE ALWAYS TRIGGER messages_deleted, ENABLE ALWAYS TRIGGER messages_truncated;

SELECT queuestats.remember_proof();
