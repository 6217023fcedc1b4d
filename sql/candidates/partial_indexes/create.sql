-- What is on its way apart from what is held: the messages that change their status never touch the second index.
CREATE INDEX messages_active ON messages (sender_id, account_id, campaign_id, isp, status)
WHERE status <> 'hold';
CREATE INDEX messages_held ON messages (sender_id, account_id, campaign_id, isp)
WHERE status = 'hold';
