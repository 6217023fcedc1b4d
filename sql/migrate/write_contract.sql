-- write_contract: records the contract of the new functions, and the oldest contract that they support
-- parameters: number integer, oldest integer
INSERT /* migrate/write_contract.sql */ INTO queuestats.contract (stands, number, oldest)
VALUES (true, cast(:number AS integer), cast(:oldest AS integer))
ON CONFLICT (stands) DO UPDATE SET number = excluded.number, oldest = excluded.oldest
