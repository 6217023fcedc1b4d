-- triggers: the triggers that count, missing or switched off
-- parameters: none
SELECT /* doctor/triggers.sql */
  'error' AS severity,
  CASE
    WHEN trigger.tgname IS NULL THEN format('the trigger %s on messages is missing', wanted.name)
    ELSE format('the trigger %s on messages is switched off', wanted.name)
  END AS finding,
  'Run queuestats migrate, ALTER TABLE messages ENABLE TRIGGER USER, then queuestats verify --repair.' AS advice
FROM (
  VALUES ('messages_inserted'), ('messages_updated'), ('messages_deleted'), ('messages_truncated')
) AS wanted (name)
  LEFT JOIN pg_trigger AS trigger
    ON trigger.tgname = wanted.name AND trigger.tgrelid = 'public.messages'::regclass
WHERE trigger.tgenabled IS NULL OR trigger.tgenabled NOT IN ('O', 'A')
ORDER BY wanted.name
