-- The other columns that a scan needs, as INCLUDE columns. PostgreSQL does not deduplicate entries of an index with
-- INCLUDE, so this is the largest of the candidates.
CREATE INDEX messages_covering ON messages (sender_id, status) INCLUDE (account_id, campaign_id, isp);
