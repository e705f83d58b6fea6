"""The engine of a model that other OpenAI-compatible servers run."""
