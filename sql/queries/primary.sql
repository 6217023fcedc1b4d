-- primary: raises QS503 on a standby, which may lack messages; a pooler may switch to a standby after the connection
-- parameters: none
DO /* queries/primary.sql */ $$
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION USING ERRCODE = 'QS503', MESSAGE = 'the database is a standby';
  END IF;
END
$$
