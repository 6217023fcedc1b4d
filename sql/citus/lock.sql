-- lock: prevents writes to messages until the transaction ends
-- parameters: none
LOCK /* citus/lock.sql */ TABLE public.messages IN ACCESS EXCLUSIVE MODE
