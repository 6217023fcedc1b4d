"""Tools for measurements by a DBA: data sets, a simulated mail transfer agent, benchmarks."""
