-- pass_on_rights: grants read access to the tables of a revision, to all roles that may read alembic_version
-- It runs in the transaction of the revision, so running instances never lack a right.
-- parameters: none
DO /* migrate/pass_on_rights.sql */ $$
DECLARE
  right_ record;
BEGIN
  FOR right_ IN
    SELECT made.oid::regclass AS made, granted.grantee::regrole AS reader
    FROM pg_class AS revisions
      CROSS JOIN LATERAL aclexplode(revisions.relacl) AS granted
      INNER JOIN pg_class AS made ON made.relnamespace = revisions.relnamespace AND made.relkind IN ('r', 'p')
    WHERE revisions.oid = to_regclass('queuestats.alembic_version')
      AND granted.privilege_type = 'SELECT'
      AND granted.grantee NOT IN (0, revisions.relowner)
      AND made.relname <> 'fold_lock'
      AND NOT has_table_privilege(granted.grantee, made.oid, 'SELECT')
  LOOP
    EXECUTE format('GRANT SELECT ON %s TO %s', right_.made, right_.reader);
  END LOOP;
END
$$;
