"""The engine that runs models by vLLM, in processes of its own, and the plugin that steers them there."""
