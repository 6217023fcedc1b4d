-- contract: the contract of the functions of this database, and the oldest contract that they serve
-- No row: a version before contract numbers made them. The condition is always true, for a look-up by the index.
-- parameters: none
SELECT /* queries/contract.sql */ number, oldest
FROM queuestats.contract
WHERE stands
