-- record_drift: keeps the senders whose counts verify found to be wrong; the service counts them anew
-- parameters: sender_ids bigint[], differences bigint[]
SELECT /* queries/record_drift.sql */
  queuestats.record_drift(cast(:sender_ids AS bigint[]), cast(:differences AS bigint[]))
