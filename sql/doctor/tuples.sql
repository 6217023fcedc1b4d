-- tuples: bloat as the extension pgstattuple measures it
-- parameters: none
SELECT /* doctor/tuples.sql */
  'warning' AS severity,
  format(
    '%s consists of dead rows by %s %% and of free space by %s %%', relname,
    round(cast(measured.dead_tuple_percent AS numeric)), round(cast(measured.approx_free_percent AS numeric))
  ) AS finding,
  format('Vacuum %I earlier; pg_repack gives the space back.', relname) AS advice
FROM pg_class
  CROSS JOIN LATERAL pgstattuple_approx(oid) AS measured
WHERE oid IN ('public.messages'::regclass, 'queuestats.counters'::regclass, 'queuestats.deltas'::regclass)
  AND pg_relation_size(oid) > 64 * 1024 * 1024
  AND measured.dead_tuple_percent + measured.approx_free_percent > 60
