-- uncountable: the table of messages is one that the triggers can't count
-- parameters: none
SELECT /* conditions/uncountable.sql */
  reason AS finding,
  NULL AS command
FROM queuestats.uncountable_messages() AS reason
