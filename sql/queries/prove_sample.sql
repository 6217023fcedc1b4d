-- prove_sample: audits a few senders and records drift; no row while that is not due
-- share: the share of time that the proof takes, of one session
-- parameters: share double precision
SELECT /* queries/prove_sample.sql */ senders, drifted
FROM queuestats.prove_sample(cast(:share AS double precision))
