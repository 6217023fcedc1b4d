-- analyze: updates the planner's statistics of the new rows
-- parameters: none
ANALYZE /* seed/analyze.sql */ messages
