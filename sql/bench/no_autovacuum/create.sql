-- The state of the tables must not change while they are measured.
ALTER TABLE messages SET (autovacuum_enabled = off);
ALTER TABLE queuestats.deltas SET (autovacuum_enabled = off);
ALTER TABLE queuestats.counters SET (autovacuum_enabled = off);
ALTER TABLE queuestats.watermarks SET (autovacuum_enabled = off);
