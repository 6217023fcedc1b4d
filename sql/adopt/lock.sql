-- Blocks writers of the adopted table until the transaction ends.
-- places: messages
LOCK TABLE "{messages}" IN SHARE ROW EXCLUSIVE MODE;
