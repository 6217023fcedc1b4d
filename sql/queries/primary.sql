-- primary: raises QS503 on a standby, whose messages lag behind; a pooler may go over to one after the connection
-- parameters: none
DO /* queries/primary.sql */ $$
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION USING ERRCODE = 'QS503', MESSAGE = 'the database is a standby';
  END IF;
END
$$
