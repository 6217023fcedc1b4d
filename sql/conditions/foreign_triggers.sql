-- foreign_triggers: triggers on tables of other applications call functions of queuestats
-- parameters: none
SELECT /* conditions/foreign_triggers.sql */
  format('the trigger %s on %s calls a function of queuestats, which fails', trigger.tgname, trigger.tgrelid::regclass)
    AS finding,
  format('DROP TRIGGER %I ON %s', trigger.tgname, trigger.tgrelid::regclass) AS command
FROM pg_trigger AS trigger
  JOIN pg_proc AS called ON called.oid = trigger.tgfoid
WHERE called.pronamespace = 'queuestats'::regnamespace
  AND trigger.tgrelid <> 'queuestats.fold_lock'::regclass
  AND trigger.tgrelid <> queuestats.messages_table()
  AND pg_partition_root(trigger.tgrelid) IS DISTINCT FROM queuestats.messages_table()
ORDER BY trigger.tgname
