-- replica_identity: a publication includes tables of the service that have no replica identity
-- PostgreSQL refuses to update or delete their rows.
-- places: schema
-- parameters: none
SELECT /* conditions/replica_identity.sql */
  format('%s has no replica identity, and the publication %s includes it', class.oid::regclass, published.pubname)
    AS finding,
  format('ALTER TABLE %s REPLICA IDENTITY FULL', class.oid::regclass) AS command
FROM pg_publication_tables AS published
  INNER JOIN pg_publication AS publication ON publication.pubname = published.pubname
  INNER JOIN pg_namespace AS namespace ON namespace.nspname = published.schemaname
  INNER JOIN pg_class AS class ON class.relnamespace = namespace.oid AND class.relname = published.tablename
WHERE (publication.pubupdate OR publication.pubdelete)
  AND (namespace.nspname = '"{schema}"' OR class.oid = "{schema}".messages_table())
  AND (
    class.relreplident = 'n'
    OR class.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = class.oid AND indisprimary)
  )
ORDER BY finding
