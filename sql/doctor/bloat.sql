-- bloat: tables and indexes that are several times as large as their rows need
-- An estimate from the statistics; with the extension pgstattuple, doctor measures instead.
-- parameters: none
SELECT /* doctor/bloat.sql */
  'warning' AS severity,
  format(
    '%s %s takes %s, some %s times what its %s rows need',
    sized.kind,
    sized.name,
    pg_size_pretty(sized.bytes),
    round(cast(sized.bytes / sized.needed AS numeric), 1),
    sized.rows
  ) AS finding,
  sized.advice
FROM (
  SELECT
    'table' AS kind,
    class.relname AS name,
    pg_relation_size(class.oid) AS bytes,
    cast(class.reltuples AS bigint) AS rows,
    greatest(1, class.reltuples * (28 + coalesce(sum(stats.avg_width), 60))) AS needed,
    format('Vacuum earlier; to give the space back, pg_repack or VACUUM FULL %I (which locks it).', class.relname)
      AS advice
  FROM pg_class AS class
    LEFT JOIN pg_stats AS stats ON stats.schemaname IN ('public', 'queuestats') AND stats.tablename = class.relname
  WHERE class.oid IN ('public.messages'::regclass, 'queuestats.counters'::regclass, 'queuestats.deltas'::regclass)
  GROUP BY class.oid, class.relname, class.reltuples
  UNION ALL
  SELECT
    'index',
    class.relname,
    pg_relation_size(class.oid),
    cast(class.reltuples AS bigint),
    greatest(1, class.reltuples * 16 * (1 + index.indnkeyatts)),
    format('REINDEX INDEX CONCURRENTLY %I', class.relname)
  FROM pg_index AS index
    JOIN pg_class AS class ON class.oid = index.indexrelid
  WHERE index.indrelid IN ('public.messages'::regclass, 'queuestats.counters'::regclass, 'queuestats.deltas'::regclass)
) AS sized
WHERE sized.bytes > 64 * 1024 * 1024 AND sized.bytes > 4 * sized.needed
ORDER BY sized.bytes DESC
