#!/bin/sh
# One question from serious to silly, beside the unsteered answer. On a server with an admin key API_KEY must be that one.
url="${BASE_URL:-http://127.0.0.1:8000/v1}"
curl --silent --show-error --fail-with-body "${url%/v1}/api/steering/test" \
  --header "Authorization: Bearer ${API_KEY:-none}" \
  --header "Content-Type: application/json" \
  --data '{
    "model": "'"${MODEL:-demo-qwen2}"'",
    "prompt": "What is the capital of France?",
    "persona": "silly",
    "coefficients": [-1.0, -0.5, 0.5, 1.0],
    "max_tokens": 80
  }'
