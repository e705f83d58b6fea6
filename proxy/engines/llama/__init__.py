"""What the engine for GGUF models is made of; `proxy.engines.llama_cpp` puts it together."""
