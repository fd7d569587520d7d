"""The verdict: candidate, champion and baselines on the same test examples, and whether the champion changes."""
