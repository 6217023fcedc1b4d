-- lock: blocks all other writers until the end of the transaction; readers continue
-- parameters: none
LOCK /* seed/lock.sql */ TABLE messages IN SHARE ROW EXCLUSIVE MODE
