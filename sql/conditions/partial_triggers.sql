-- partial_triggers: a trigger that counts is enabled, but not ALWAYS; DISABLE TRIGGER and ENABLE TRIGGER cause this
-- parameters: none
SELECT /* conditions/partial_triggers.sql */
  format('a trigger that counts %s does not fire in replica mode', queuestats.messages_table()) AS finding,
  NULL AS command
FROM queuestats.trigger_state()
WHERE is_partial AND NOT is_missing AND NOT is_off AND NOT queuestats.is_distributed()
