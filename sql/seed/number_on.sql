-- number_on: lets the next message that gets its id from the database follow the last one of the data set
-- parameters: last_id bigint
SELECT /* seed/number_on.sql */ setval(pg_get_serial_sequence('messages', 'id'), cast(:last_id AS bigint))
