-- vacuum: vacuums the tables of a node or of one PostgreSQL
-- parameters: none
VACUUM /* bench/citus/vacuum.sql */ (ANALYZE)
