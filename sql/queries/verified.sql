-- verified: keeps what a verify of all senders found, for the metrics
-- parameters: token_name text, differences bigint
INSERT /* queries/verified.sql */ INTO queuestats.audit_log (action, sender_id, token_name, request_id, messages)
VALUES ('verify', 0, cast(:token_name AS text), '', cast(:differences AS bigint))
