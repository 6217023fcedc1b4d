-- contract: the contract number of the functions in this database, and the oldest number that they support
-- No row: a version without contract numbers created the functions. The condition is always true; it makes the planner
-- use the index.
-- parameters: none
SELECT /* queries/contract.sql */ number, oldest
FROM queuestats.contract
WHERE stands
