# vLLM's own server for NVIDIA's GPUs, with the plugin that steers, on top of vLLM's image; from the repository's root:
#
#   docker build -f docker/vllm.Dockerfile -t persona-proxy:vllm .
#
# A proxy stands before it, as compose.vllm.yaml has it. What follows the image's name are options of `vllm serve`. With
# `--entrypoint persona-proxy` it is the proxy itself: serve --engine vllm --model NAME.
#
# The server runs as a user without rights. Weights that it downloads, and what is compiled for the GPU, are in /data.

FROM vllm/vllm-openai:v0.32.0
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
COPY vector_store vector_store
# Of what vLLM brings, nothing is another version then: it all lies within what is asked for here.
RUN python3 -m pip install --no-cache-dir . \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin persona \
    && install --directory --owner=persona --group=persona /data
ENV HOME=/data \
    XDG_DATA_HOME=/data \
    XDG_CACHE_HOME=/data/cache \
    HF_HOME=/data/cache/huggingface \
    TRITON_CACHE_DIR=/data/cache/triton \
    VLLM_CACHE_ROOT=/data/cache/vllm
WORKDIR /data
VOLUME /data
EXPOSE 8000
USER 10001:10001
# Green once the model is loaded. Until then many minutes may pass.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["python3", "-m", "proxy.engines.vllm.serve"]
CMD ["Qwen/Qwen2.5-7B-Instruct"]
