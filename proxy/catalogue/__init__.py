"""Known models: what they are called, where their files come from, and how those get here."""
