"""The log: simulated or read, checked row by row, cleaned, and freed of identities.

Nothing after this room has seen a raw id."""
