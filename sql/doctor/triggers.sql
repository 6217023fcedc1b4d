-- triggers: those that count, missing or switched off; our functions on tables of others, or in the hands of others
-- parameters: none
SELECT /* doctor/triggers.sql */ found.severity, found.finding, found.advice
FROM (
  SELECT
    'error' AS severity,
    CASE
      WHEN
        trigger.tgname IS NULL
        THEN format('the trigger %s on %s is missing', wanted.name, queuestats.messages_table())
      ELSE format('the trigger %s on %s is switched off', wanted.name, queuestats.messages_table())
    END AS finding,
    'Run queuestats migrate: it attaches the triggers, and counts all messages anew, while writers go on.' AS advice
  FROM (
    VALUES ('messages_inserted', false), ('messages_updated', false), ('messages_deleted', false),
    ('messages_changed', true), ('messages_truncated', NULL)
  ) AS wanted (name, is_by_row)
    LEFT JOIN pg_trigger AS trigger
      ON trigger.tgname = wanted.name AND trigger.tgrelid = queuestats.messages_table()
  WHERE (trigger.tgenabled IS NULL OR trigger.tgenabled NOT IN ('O', 'A'))
    AND (wanted.is_by_row IS NULL OR wanted.is_by_row = EXISTS (
      SELECT FROM queuestats.adopted
      WHERE (mapping ->> 'is_partitioned')::boolean
    ))
  UNION ALL
  SELECT
    'error',
    format('the trigger %s on %s calls a function of ours', trigger.tgname, trigger.tgrelid::regclass),
    format('It is refused at every write; DROP TRIGGER %I ON %s', trigger.tgname, trigger.tgrelid::regclass)
  FROM pg_trigger AS trigger
    JOIN pg_proc AS called ON called.oid = trigger.tgfoid
  WHERE called.pronamespace = 'queuestats'::regnamespace
    AND trigger.tgrelid <> 'queuestats.fold_lock'::regclass
    AND trigger.tgrelid <> queuestats.messages_table()
    AND pg_partition_root(trigger.tgrelid) IS DISTINCT FROM queuestats.messages_table()
  UNION ALL
  SELECT
    'error',
    format(
      '%s may execute %s, which runs with its owner''s rights',
      CASE granted.grantee WHEN 0 THEN 'everybody' ELSE granted.grantee::regrole::text END, function.oid::regprocedure
    ),
    format(
      'REVOKE EXECUTE ON FUNCTION %s FROM %s', function.oid::regprocedure,
      CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END
    )
  FROM pg_proc AS function
    CROSS JOIN aclexplode(coalesce(function.proacl, acldefault('f', function.proowner))) AS granted
  WHERE function.pronamespace = 'queuestats'::regnamespace
    AND function.prosecdef
    AND (granted.grantee = 0 OR (granted.grantee <> function.proowner AND function.proname LIKE 'record_%'))
    AND granted.privilege_type = 'EXECUTE'
) AS found
ORDER BY found.finding
