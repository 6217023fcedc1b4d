-- roll_up_history: rolls up max_changes changes of the history, drops old partitions; no row while a fold is running
-- places: schema
-- parameters: max_changes integer, kept_by_minute interval, kept_by_ten_minutes interval, kept_by_hour interval
SELECT /* queries/roll_up_history.sql */ rolled_up, is_more
FROM
  "{schema}".roll_up_history(
    cast(:max_changes AS integer),
    cast(:kept_by_minute AS interval),
    cast(:kept_by_ten_minutes AS interval),
    cast(:kept_by_hour AS interval)
  )
