-- The fold's lock: whoever changes the counters (a fold, a compact, a rebuild, a TRUNCATE of messages) holds it until
-- its transaction ends. It is a lock on an empty table that nobody but the owner has a right on: any role can take an
-- advisory lock, and could stop all folds with it.
-- places: schema

-- True once this transaction holds the lock; false when another one does and this one won't wait.
-- Under a snapshot older than the lock a fold would work on what another one has changed already. In READ COMMITTED
-- each statement that follows takes its own.
CREATE OR REPLACE FUNCTION "{schema}".take_fold_lock(is_waiting boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'the counters are changed in READ COMMITTED only' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  IF is_waiting THEN
    LOCK TABLE "{schema}".fold_lock IN EXCLUSIVE MODE;
  ELSE
    BEGIN
      LOCK TABLE "{schema}".fold_lock IN EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
      RETURN false;
    END;
  END IF;
  RETURN true;
END
$$;

REVOKE EXECUTE ON FUNCTION "{schema}".take_fold_lock(boolean) FROM PUBLIC;
