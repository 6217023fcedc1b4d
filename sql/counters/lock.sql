-- The fold's lock: a fold, a compact, a rebuild and a TRUNCATE of messages change the counters, and hold the lock until
-- their transaction ends. It is a lock on an empty table on which only the owner has rights: any role could take an
-- advisory lock, and stop all folds with it.
-- places: schema

-- True if this transaction holds the lock; false if another one holds it and this one does not wait.
-- With a snapshot older than the lock, a fold would repeat changes of another one. In READ COMMITTED each following
-- statement takes a new snapshot.
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
