#!/bin/sh
# The same as a stream of server-sent events. Here the persona stands in the model's name.
curl --silent --show-error --fail-with-body --no-buffer "${BASE_URL:-http://127.0.0.1:8000/v1}/chat/completions" \
  --header "Authorization: Bearer ${API_KEY:-none}" \
  --header "Content-Type: application/json" \
  --data '{
    "model": "'"${MODEL:-demo-qwen2}"':silly@1.0",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "stream": true
  }'
