-- lock: keeps every other writer out until the end of the transaction, and lets readers in
-- parameters: none
LOCK /* seed/lock.sql */ TABLE messages IN SHARE ROW EXCLUSIVE MODE
