"""The engine for Hugging Face models, by transformers in this process; `engine` puts it together."""
