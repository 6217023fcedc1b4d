-- counter_sum: the sum of bigints as a bigint.
-- PostgreSQL's own sum(bigint) is numeric: exact beyond any count of messages, and several times slower for long
-- reports.
-- places: schema
CREATE OR REPLACE AGGREGATE "{schema}".counter_sum (bigint)(
  sfunc = int8pl, stype = bigint, initcond = '0', combinefunc = int8pl, parallel = safe
);
