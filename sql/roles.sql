-- roles: the service's role and its rights, no more than it needs
-- `queuestats migrate` runs this at its end. By hand, as a superuser, where the owner may not create roles,
--   psql -d DATABASE -c "SET queuestats.service_role = 'ROLE'" -f sql/roles.sql
-- A role that exists keeps its password and its attributes. A limit is set on the role, so that it holds whichever way
-- the role connects, and only where the role has none of its own: a DBA's value stays, and a new value here reaches
-- new roles alone.
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
        NULL; -- The migration of another database in this cluster was quicker.
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
        -- The counters' tables may be a few pages, where a scan looks cheaper; a prepared plan outlives that.
        ('enable_seqscan', 'off'),
        -- Only an index scan marks the dead entries that it meets, so that the next one passes them by; a bitmap scan
        -- visits their rows again, at every read, until a vacuum comes.
        ('enable_bitmapscan', 'off'),
        -- A look-up's plan is the same for every sender. Where the server takes a plan for the very values to be
        -- cheaper, it makes one at each execution, which takes longer than to read the counters.
        ('plan_cache_mode', 'force_generic_plan'),
        -- No statement of the service runs for so long that compiling it would pay.
        ('jit', 'off'),
        -- What the database's own defaults may be otherwise; folds write, in READ COMMITTED.
        ('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', 'off'),
        -- Where a policy would hide messages it is an error, and no smaller count.
        ('row_security', 'off'),
        -- The driver looks up each array type once for a connection. Citus hides shards by a call for each row of
        -- pg_class, and such a look-up takes 0.4 s of processor time in place of 0.01.
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

  -- What everybody may do by default, unless a DBA has forbidden it.
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
  -- Of an adopted table the service reads no column, but what the mapping makes of a row.
  IF to_regproc('queuestats.mapped_messages') IS NOT NULL THEN
    EXECUTE format(
      'GRANT EXECUTE ON FUNCTION queuestats.mapped_messages, queuestats.oldest_message, queuestats.recount,'
      ' queuestats.unfit_mapping TO %I',
      service
    );
  END IF;
  EXECUTE format('GRANT INSERT ON queuestats.audit_log TO %I', service);
  -- Folding runs under the owner's rights: the service may start it, and can change nothing by itself.
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
