"""The counters: folding, verifying, and what `doctor` checks."""
