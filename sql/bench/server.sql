-- server: the version, the settings that a figure depends on, and all settings with a value other than the default
-- parameters: none
SELECT /* bench/server.sql */
  name,
  current_setting(name) AS value
FROM pg_settings
WHERE name IN (
    'autovacuum', 'autovacuum_naptime', 'checkpoint_timeout', 'data_checksums', 'effective_cache_size', 'fsync',
    'full_page_writes', 'jit', 'max_parallel_workers_per_gather', 'max_wal_size', 'random_page_cost', 'server_version',
    'shared_buffers', 'synchronous_commit', 'wal_compression', 'wal_level', 'wal_sync_method', 'work_mem'
  )
  OR source NOT IN ('default', 'override', 'client', 'session')
  AND category NOT IN ('Client Connection Defaults / Locale and Formatting', 'File Locations')
  AND category NOT LIKE 'Connections and Authentication%'
  AND category NOT LIKE 'Reporting and Logging%'
ORDER BY name
