-- rebuild: counts the messages of one sender anew (NULL, all senders), while writers go on
-- places: schema
-- parameters: sender_id bigint
SELECT /* queries/rebuild.sql */ "{schema}".rebuild(cast(:sender_id AS bigint))
