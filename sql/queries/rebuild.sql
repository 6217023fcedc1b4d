-- rebuild: recounts the messages of one sender (NULL: of all senders), while writers continue
-- places: schema
-- parameters: sender_id bigint
SELECT /* queries/rebuild.sql */ "{schema}".rebuild(cast(:sender_id AS bigint))
