-- contract: the contract number of the functions in this database, and the oldest number that they serve
-- No row: a version before contract numbers created them. The condition is always true, for a look-up by the index.
-- parameters: none
SELECT /* queries/contract.sql */ number, oldest
FROM queuestats.contract
WHERE stands
