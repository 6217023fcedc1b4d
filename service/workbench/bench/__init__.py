"""Benchmarks for a DBA: what an answer takes (`sql`), and what counting costs the writers (`write`)."""
