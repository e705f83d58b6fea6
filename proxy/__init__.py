"""An OpenAI-compatible inference server that gives every request its own personality."""

__version__ = "0.1.0"
