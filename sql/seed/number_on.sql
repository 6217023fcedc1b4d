-- number_on: sets the sequence of ids to the last id of the data set
-- parameters: last_id bigint
SELECT /* seed/number_on.sql */ setval(pg_get_serial_sequence('messages', 'id'), cast(:last_id AS bigint))
