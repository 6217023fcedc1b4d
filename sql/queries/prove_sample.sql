-- prove_sample: audits a few senders and records drift; no row if no audit is due
-- share: the proof's share of the time of one session
-- parameters: share double precision
SELECT /* queries/prove_sample.sql */ senders, drifted
FROM queuestats.prove_sample(cast(:share AS double precision))
