"""Who may come in, and how much of it: connections, hosts and origins, keys or names, quotas. Pure
but for connections, and for reading the file of keys at start."""
