"""`umad ps`, `umad cancel`, `umad priority`: what runs on the daemon, and changing it."""
