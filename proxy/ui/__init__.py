"""Pages that this server serves."""
