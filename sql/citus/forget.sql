-- forget: deletes the rows of messages that the coordinator kept when the table was distributed
-- parameters: none
SELECT /* citus/forget.sql */ truncate_local_data_after_distributing_table('public.messages')
