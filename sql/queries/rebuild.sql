-- rebuild: counts the messages of one sender anew (NULL, all senders), while writers go on
-- parameters: sender_id bigint
SELECT /* queries/rebuild.sql */ queuestats.rebuild(cast(:sender_id AS bigint))
