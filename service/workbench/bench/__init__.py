"""Benchmarks for a DBA: the time of an answer (`sql`), and the cost of counting for writers (`write`)."""
