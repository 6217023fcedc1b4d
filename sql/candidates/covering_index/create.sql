-- Everything that a scan needs behind the key of the index that stands anyway. PostgreSQL keeps no duplicates together
-- in an index with INCLUDE, so it is the largest of the candidates.
CREATE INDEX messages_covering ON messages (sender_id, status) INCLUDE (account_id, campaign_id, isp);
