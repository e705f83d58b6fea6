#!/bin/sh
# One answer in character. The answer's "steering" object says what was done.
curl --silent --show-error --fail-with-body "${BASE_URL:-http://127.0.0.1:8000/v1}/chat/completions" \
  --header "Authorization: Bearer ${API_KEY:-none}" \
  --header "Content-Type: application/json" \
  --data '{
    "model": "'"${MODEL:-demo-qwen2}"'",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "persona": "silly",
    "coefficient": 1.0
  }'
