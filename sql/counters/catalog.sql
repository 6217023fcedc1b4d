-- What the conditions of sql/conditions/ ask of the catalog, on one machine and on a node of a cluster.
-- places: schema

-- catalog_objects: the tables, views, columns, indexes and functions of our schema, from the catalog.
-- The settings make the definitions the same in every session.
CREATE OR REPLACE FUNCTION "{schema}".catalog_objects() RETURNS TABLE (kind text, name text, definition text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
  SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'table' END, relname::text,
         CASE relkind WHEN 'v' THEN md5(pg_get_viewdef(oid)) ELSE '' END
  FROM pg_class WHERE relnamespace = '"{schema}"'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
  UNION ALL
  SELECT 'column', format('%s.%s', relname, attname), format_type(atttypid, atttypmod)
  FROM pg_class INNER JOIN pg_attribute ON attrelid = pg_class.oid
  WHERE relnamespace = '"{schema}"'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT 'index', pg_class.relname::text, pg_get_indexdef(pg_class.oid)
  FROM pg_class INNER JOIN pg_index ON indexrelid = pg_class.oid
    INNER JOIN pg_class AS indexed ON indexed.oid = indrelid
  WHERE indexed.relnamespace = '"{schema}"'::regnamespace AND NOT indexed.relispartition
    OR indexed.oid = "{schema}".messages_table()
      AND pg_class.relname IN ('messages_pkey', 'messages_by_arrival')
  UNION ALL
  SELECT 'function', pg_proc.oid::regprocedure::text,
         md5(format('%s %s %s %s', prosrc, prosecdef, proconfig, pg_get_function_result(pg_proc.oid)))
  FROM pg_proc WHERE pronamespace = '"{schema}"'::regnamespace
$$;

-- effective_settings: the settings that a new session of a role has in this database. time_limit: the value of a time
-- limit, 0 for none.
CREATE OR REPLACE FUNCTION "{schema}".effective_settings(of_role text) RETURNS TABLE (
  role text, name text, value text, time_limit interval
)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres AS $$
  SELECT of_role, name, value, CASE WHEN unit = 'ms' THEN
           CASE WHEN value ~ '^\d+$' THEN format('%s ms', value) ELSE value END::interval
         END
  FROM (
    SELECT DISTINCT ON (pg_settings.name) pg_settings.name, given.value, unit
    FROM pg_settings CROSS JOIN LATERAL (
      SELECT substr(setting, length(pg_settings.name) + 2) AS value, setrole <> 0 AS is_of_role,
             setdatabase <> 0 AS is_of_database, true AS is_of_catalog
      FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS setting
      WHERE starts_with(setting, pg_settings.name || '=')
        AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = of_role))
        AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      UNION ALL
      -- Settings of this session do not apply to the role.
      SELECT CASE WHEN source IN ('global', 'database', 'user', 'database user', 'client', 'session') THEN boot_val
                  ELSE reset_val END, false, false, false
    ) AS given
    -- ALTER ROLE ALL takes precedence over the server's own settings.
    ORDER BY pg_settings.name, is_of_role DESC, is_of_database DESC, is_of_catalog DESC
  ) AS effective
  WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = of_role AND NOT rolsuper)
    -- The limits of the owner are not examined.
    AND of_role <> (SELECT relowner::regrole::text FROM pg_class WHERE oid = '"{schema}".counters'::regclass)
$$;
