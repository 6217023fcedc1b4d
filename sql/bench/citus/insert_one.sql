-- insert_one: one message of a sender
-- parameters: sender_id bigint
INSERT /* bench/citus/insert_one.sql */ INTO messages (sender_id, account_id, isp, recipient)
VALUES (cast(:sender_id AS bigint), 5, 'x', 'y')
