"""GGUF files as both engines know them: what a file says of itself, whose weights it holds, and how it cuts text."""
