-- clean: drops the tables that moves have left behind, as far as no session uses them
-- parameters: none
CALL /* bench/citus/clean.sql */ citus_cleanup_orphaned_resources()
