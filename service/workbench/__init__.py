"""What a DBA measures with: data sets, a simulated mail transfer agent, benchmarks."""
