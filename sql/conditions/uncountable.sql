-- uncountable: the triggers can't count the table of messages
-- parameters: none
SELECT /* conditions/uncountable.sql */
  reason AS finding,
  NULL AS command
FROM queuestats.uncountable_messages() AS reason
