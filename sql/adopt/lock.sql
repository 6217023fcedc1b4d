-- Writers of the adopted table wait from here on until the transaction ends.
-- places: messages
LOCK TABLE "{messages}" IN SHARE ROW EXCLUSIVE MODE;
