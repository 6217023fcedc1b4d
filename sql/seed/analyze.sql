-- analyze: lets the planner know the new rows
-- parameters: none
ANALYZE /* seed/analyze.sql */ messages
