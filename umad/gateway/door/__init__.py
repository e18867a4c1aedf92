"""Who may come in, and how much of it: hosts and origins, keys, quotas. Pure but for reading the
file of keys at start."""
