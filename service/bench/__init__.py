"""The benchmarks: requests (`http`), answers (`sql`), writers (`write`). Each run says what it was made with."""
