-- repair_held: deletes rows of messages that are not on hold, and releases messages whose hold is not active
-- parameters: sender_id bigint, actor_name text
SELECT /* queries/control/repair_held.sql */
  queuestats.repair_held(cast(:sender_id AS bigint), cast(:actor_name AS text))
