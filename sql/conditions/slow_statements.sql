-- slow_statements: the slowest statements of the service, as measured by the extension pg_stat_statements
-- parameters: none
SELECT /* conditions/slow_statements.sql */
  format(
    '%s took %s ms on average in %s calls',
    substring(query FROM '/\* (\S+) \*/'), round(cast(mean_exec_time AS numeric), 1), calls
  ) AS finding,
  'queuestats explain --analyze' AS command
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND query ~ '/\* (queries|tokens|explain)/\S+ \*/'
  AND mean_exec_time > 20
  AND calls > 10
ORDER BY mean_exec_time DESC
LIMIT 5
