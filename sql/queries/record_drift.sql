-- record_drift: records the senders for which verify found wrong counts; the service recounts them
-- parameters: sender_ids bigint[], differences bigint[]
SELECT /* queries/record_drift.sql */
  queuestats.record_drift(cast(:sender_ids AS bigint[]), cast(:differences AS bigint[]))
