"""Long work in the background: a persisted queue, and the kinds of job it runs."""
