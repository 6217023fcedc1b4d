-- detach: removes our triggers from messages, and the counters from the coordinator. Part of the same transaction as
-- distribute.sql: a service that takes the queue to be on one machine finds nothing to answer with.
-- parameters: none
DO /* citus/detach.sql */ $$
DECLARE
  own name;
BEGIN
  FOR own IN
    SELECT trigger.tgname
    FROM pg_trigger AS trigger
      INNER JOIN pg_proc AS function ON function.oid = trigger.tgfoid
    WHERE trigger.tgrelid = to_regclass('public.messages')
      AND NOT trigger.tgisinternal
      AND function.pronamespace = to_regnamespace('queuestats')
      AND function.proname LIKE 'record\_%'
  LOOP
    EXECUTE format('DROP TRIGGER %I ON public.messages', own);
  END LOOP;
  DELETE FROM queuestats.baseline;
  DROP FUNCTION queuestats.current_counters;
  -- The condition `objects` does not miss it.
  DELETE FROM queuestats.objects WHERE name LIKE 'queuestats.current\_counters(%';
END
$$
