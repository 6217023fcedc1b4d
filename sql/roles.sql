-- roles: the service's role, with the minimal rights that it needs
-- `queuestats migrate` runs this at its end. If the owner may not create roles, run it by hand as a superuser:
--   psql -d DATABASE -c "SET queuestats.service_role = 'ROLE'" -f sql/roles.sql
-- An existing role keeps its password and its attributes. Limits are set on the role, so that they apply to all its
-- connections, and only if the role has no value of its own: values of a DBA stay, and a new value here applies only to
-- new roles.
DO $$
DECLARE
  service text := current_setting('queuestats.service_role');
  password text := nullif(current_setting('queuestats.service_password', true), '');
  messages_schema regnamespace := (
    SELECT typnamespace FROM pg_type WHERE oid = (
      SELECT atttypid FROM pg_attribute WHERE attrelid = 'queuestats.queued_messages'::regclass AND attname = 'status'
    )
  );
  standing record;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = service) THEN
    BEGIN
      EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', service, password);
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN
        NULL; -- A concurrent migration of another database has created it.
      WHEN insufficient_privilege THEN
        RAISE insufficient_privilege USING MESSAGE = format(
          'the role %I is missing and %I may not create it; as a superuser run psql -d %I'
          ' -c "SET queuestats.service_role = %L" -c "SET queuestats.service_password = ''...''" -f sql/roles.sql',
          service, current_user, current_database(), service
        );
    END;
  END IF;

  FOR standing IN
    SELECT name, value
    FROM (
      VALUES ('statement_timeout', '15s'), ('lock_timeout', '5s'), ('idle_in_transaction_session_timeout', '30s'),
        -- Small tables of counters would make a sequential scan look cheaper, and a prepared plan is kept after they
        -- have grown.
        ('enable_seqscan', 'off'),
        -- Only an index scan marks dead entries, so that the next scan skips them. A bitmap scan visits their rows at
        -- each read, until a vacuum.
        ('enable_bitmapscan', 'off'),
        -- The plan of a look-up is the same for every sender. If the server expected a plan for the given values to be
        -- cheaper, it would plan at each execution, which takes longer than reading the counters.
        ('plan_cache_mode', 'force_generic_plan'),
        -- No statement of the service runs long enough for JIT compilation to pay off.
        ('jit', 'off'),
        -- The database's own defaults may differ; folds write, in READ COMMITTED.
        ('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', 'off'),
        -- If a policy would hide messages, this causes an error and not a smaller count.
        ('row_security', 'off'),
        -- The driver looks up each array type once per connection. To hide shards, Citus calls a function for each row
        -- of pg_class, so that such a look-up takes 0.4 s of processor time in place of 0.01.
        ('citus.show_shards_for_app_name_prefixes', '*')
    ) AS standing_limit (name, value)
    WHERE (name NOT LIKE 'citus.%' OR to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL) AND NOT EXISTS (
      SELECT
      FROM pg_catalog.pg_db_role_setting AS kept
        JOIN pg_catalog.pg_roles AS role ON role.oid = kept.setrole
        CROSS JOIN unnest(kept.setconfig) AS setting
      WHERE role.rolname = service
        AND kept.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
        AND starts_with(setting, name || '=')
    )
  LOOP
    BEGIN
      EXECUTE format('ALTER ROLE %I SET %I = %L', service, standing.name, standing.value);
    EXCEPTION
      WHEN insufficient_privilege THEN
        RAISE WARNING 'the role % has no %; as a superuser run %', service, standing.name,
          format('ALTER ROLE %I SET %I = %L', service, standing.name, standing.value);
    END;
  END LOOP;

  -- Rights that PUBLIC has by default, unless a DBA has revoked them.
  IF NOT has_database_privilege(service, current_database(), 'CONNECT') THEN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), service);
  END IF;
  IF NOT has_schema_privilege(service, messages_schema::oid, 'USAGE') THEN
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', messages_schema, service);
  END IF;
  EXECUTE format('GRANT USAGE ON SCHEMA queuestats TO %I', service);

  EXECUTE format(
    'GRANT SELECT ON queuestats.queued_messages, queuestats.counters, queuestats.sender_totals,'
    ' queuestats.deltas, queuestats.watermarks, queuestats.bounds,'
    ' queuestats.trusted_watermarks, queuestats.baseline, queuestats.tokens, queuestats.repeatable_migrations,'
    ' queuestats.alembic_version, queuestats.holds, queuestats.held_messages, queuestats.jobs, queuestats.job_chunks,'
    ' queuestats.audit_log, queuestats.adopted, queuestats.keys, queuestats.drift, queuestats.background_tasks,'
    ' queuestats.objects, queuestats.contract, queuestats.uncounted_writes, queuestats.history,'
    ' queuestats.history_changes, queuestats.history_steps, queuestats.history_spans,'
    ' queuestats.history_begins TO %I', service
  );
  -- The service reads no column of an adopted table, only the result of the mapping.
  IF to_regproc('queuestats.mapped_messages') IS NOT NULL THEN
    EXECUTE format(
      'GRANT EXECUTE ON FUNCTION queuestats.mapped_messages, queuestats.oldest_message, queuestats.recount,'
      ' queuestats.unfit_mapping TO %I',
      service
    );
  END IF;
  EXECUTE format('GRANT INSERT ON queuestats.audit_log TO %I', service);
  -- A fold runs with the owner's rights: the service may start a fold, and can't change counters directly.
  EXECUTE format(
    'GRANT EXECUTE ON FUNCTION queuestats.fold, queuestats.compact, queuestats.follow_partitions,'
    ' queuestats.recount_if_needed, queuestats.begin_job, queuestats.start_job,'
    ' queuestats.advance_job, queuestats.step_job, queuestats.next_job,'
    ' queuestats.postpone_job, queuestats.preview_job, queuestats.expire_holds,'
    ' queuestats.held_differences,'
    ' queuestats.cancel_job, queuestats.prune, queuestats.note_task, queuestats.prove_sample,'
    ' queuestats.record_drift, queuestats.roll_up_history, queuestats.raise_bounds, queuestats.oldest_senders TO %I',
    service
  );
END
$$;
