-- uncountable: why the table messages can't be counted; no row if it can
-- parameters: none
SELECT /* queries/uncountable.sql */ reason
FROM queuestats.uncountable_messages() AS reason
