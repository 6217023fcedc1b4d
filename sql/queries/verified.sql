-- verified: records the result of a verify of all senders, for the metrics
-- parameters: actor_kind text, actor_name text, differences bigint
INSERT /* queries/verified.sql */ INTO queuestats.audit_log
(action, sender_id, actor_kind, actor_name, request_id, messages)
VALUES (
  'verify', 0, cast(:actor_kind AS text), cast(:actor_name AS text), '', cast(:differences AS bigint)
)
