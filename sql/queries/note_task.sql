-- note_task: records that a background task succeeded or, with `error`, that it failed
-- parameters: task text, error text
SELECT /* queries/note_task.sql */ queuestats.note_task(cast(:task AS text), cast(:error AS text))
