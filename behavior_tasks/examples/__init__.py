"""Events become examples: one row per shopper and cutoff, with features from before it and a label from after it."""
