"""The command `persona-proxy`: one module for each family of commands, put together in `main`."""
