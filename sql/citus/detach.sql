-- detach: removes the triggers of queuestats from messages, and the counters from the coordinator
-- It runs in the transaction of distribute.sql. After that transaction, a service that still assumes one machine finds
-- no counters, so it can't return outdated counts.
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
  -- So the condition `objects` does not report the function as missing.
  DELETE FROM queuestats.objects WHERE name LIKE 'queuestats.current\_counters(%';
END
$$
