"""The HTTP endpoints, one file per family, and what they share: bodies, keys, errors, request ids. No model code."""
