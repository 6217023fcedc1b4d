-- create_or_replace: runs the text of a file of functions and views of a schema. CREATE OR REPLACE can't change the
-- return type of a function or the names and defaults of its parameters, and can't remove, rename or retype the columns
-- of a view. Such an object is dropped first, with the functions and views of the same file that depend on it. All of
-- them keep their rights, except rights on columns that the view lost. An error if another object depends on one.
-- places: schema
CREATE OR REPLACE FUNCTION "{schema}".create_or_replace(file text, in_schema text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  hint text;
  dropped record;
  rights text[] := '{}';
  granting text;
BEGIN
  LOOP
    BEGIN
      EXECUTE file;
      EXIT;
    EXCEPTION WHEN invalid_function_definition OR invalid_table_definition THEN
      -- The hint names a function: "Use DROP FUNCTION name(types) first." No hint names a view.
      GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
      FOR dropped IN
        WITH RECURSIVE made (class, object, kind, name, owner, rights) AS (
          SELECT 'pg_proc'::regclass::oid, oid, 'ROUTINE', oid::regprocedure::text, proowner, ARRAY(
            SELECT format('GRANT EXECUTE ON ROUTINE %s TO %s', oid::regprocedure, grantee::regrole)
            FROM aclexplode(proacl) WHERE grantee NOT IN (0, proowner)
          )
          FROM pg_proc
          WHERE pronamespace = to_regnamespace(in_schema) AND strpos(file, format(' %s.%I(', in_schema, proname)) > 0
          UNION ALL
          SELECT 'pg_class'::regclass, oid, 'VIEW', oid::regclass::text, relowner, ARRAY(
            SELECT format('GRANT %s %s ON %s TO %s', privilege_type, in_column, oid::regclass,
                          CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
            FROM (
              SELECT relacl, ''
              UNION ALL
              SELECT attacl, format('(%I)', attname) FROM pg_attribute WHERE attrelid = pg_class.oid
            ) AS given (acl, in_column) CROSS JOIN aclexplode(acl)
            WHERE grantee <> relowner
          )
          FROM pg_class
          WHERE relnamespace = to_regnamespace(in_schema) AND relkind = 'v'
            AND strpos(file, format('VIEW %s.%I AS', in_schema, relname)) > 0
        ),

        dependent (class, object, depth) AS (
          SELECT class, object, 0 FROM made
          WHERE CASE kind WHEN 'VIEW' THEN SQLSTATE = '42P16' ELSE strpos(hint, ' ' || name) > 0 END
          UNION
          -- A view depends on the same objects as its rule.
          SELECT CASE WHEN rule.oid IS NULL THEN classid ELSE 'pg_class'::regclass END, coalesce(ev_class, objid),
                 depth + 1
          FROM dependent INNER JOIN pg_depend ON refclassid = class AND refobjid = object
            LEFT JOIN pg_rewrite AS rule ON classid = 'pg_rewrite'::regclass AND rule.oid = objid
          WHERE ev_class IS DISTINCT FROM object
        )

        SELECT kind, name, made.rights, max(depth) FROM made INNER JOIN dependent USING (class, object)
        GROUP BY 1, 2, 3 ORDER BY 4 DESC
      LOOP
        EXECUTE format('DROP %s %s', dropped.kind, dropped.name);
        rights := rights || dropped.rights;
      END LOOP;
      IF NOT FOUND THEN
        RAISE;
      END IF;
    END;
  END LOOP;
  FOREACH granting IN ARRAY rights LOOP
    BEGIN
      EXECUTE granting;
    EXCEPTION WHEN undefined_column THEN
      CONTINUE;
    END;
  END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION "{schema}".create_or_replace(text, text) FROM PUBLIC;
