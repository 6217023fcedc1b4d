-- Undoes create.sql.
ALTER TABLE messages RESET (autovacuum_enabled);
ALTER TABLE queuestats.deltas RESET (autovacuum_enabled);
ALTER TABLE queuestats.counters RESET (autovacuum_enabled);
ALTER TABLE queuestats.watermarks RESET (autovacuum_enabled);
