-- The same columns as keys, in the order in which reports are grouped. Equal entries are deduplicated, so it is several
-- times smaller than with INCLUDE, and a scan returns the groups in order.
CREATE INDEX messages_ordered ON messages (sender_id, account_id, campaign_id, isp, status);
