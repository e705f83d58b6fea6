"""What the engine for GGUF models is made of; `proxy.engines.llama_cpp.engine` puts it together."""
