-- The folder's lock: whoever changes the counters (a fold, a compact, a rebuild, a TRUNCATE of messages) holds it until
-- its transaction ends.

CREATE OR REPLACE FUNCTION queuestats.folder_lock() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 5130821437091;

-- True once this transaction holds the lock; false when another one does and this one won't wait.
-- Under a snapshot older than the lock a folder would work on what another one has changed already. In READ COMMITTED
-- each statement that follows takes its own.
CREATE OR REPLACE FUNCTION queuestats.take_folder_lock(is_waiting boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'the counters are changed in READ COMMITTED only' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  IF NOT is_waiting THEN
    RETURN pg_try_advisory_xact_lock(queuestats.folder_lock());
  END IF;
  PERFORM pg_advisory_xact_lock(queuestats.folder_lock());
  RETURN true;
END
$$;
