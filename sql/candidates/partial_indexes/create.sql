-- One index for messages that are not held, one for held messages. Most changes of a status never write to the second.
CREATE INDEX messages_active ON messages (sender_id, account_id, campaign_id, isp, status)
WHERE status <> 'hold';
CREATE INDEX messages_held ON messages (sender_id, account_id, campaign_id, isp)
WHERE status = 'hold';
