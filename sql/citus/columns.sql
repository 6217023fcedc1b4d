-- columns: the tables of a node, with the names of their columns
-- places: schema
-- parameters: none
SELECT /* citus/columns.sql */ pg_class.relname AS table_name, array_agg(attname::text) AS column_names
FROM pg_class
  INNER JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
WHERE relnamespace = '"{schema}"'::regnamespace AND relkind IN ('r', 'p')
GROUP BY pg_class.relname
