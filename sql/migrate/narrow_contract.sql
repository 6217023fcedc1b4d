-- narrow_contract: while functions are replaced, records the contract that the former and the new functions support
-- parameters: number integer, oldest integer
INSERT /* migrate/narrow_contract.sql */ INTO queuestats.contract AS known (stands, number, oldest)
VALUES (true, 1, cast(:oldest AS integer))
ON CONFLICT (stands) DO UPDATE
  SET number = least(known.number, cast(:number AS integer)), oldest = greatest(known.oldest, excluded.oldest)
