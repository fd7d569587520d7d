"""The model: tokens and labels in, a self-contained model bundle out; and the baselines it must beat."""
