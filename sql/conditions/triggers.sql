-- triggers: a trigger that counts is missing or disabled
-- parameters: none
SELECT /* conditions/triggers.sql */
  format(
    'a trigger that counts %s is %s', queuestats.messages_table(),
    CASE WHEN is_missing THEN 'missing' ELSE 'disabled' END
  ) AS finding,
  NULL AS command
FROM queuestats.trigger_state()
WHERE (is_missing OR is_off) AND NOT queuestats.is_distributed()
