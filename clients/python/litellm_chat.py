"""LiteLLM's SDK with a persona: pip install litellm, then python litellm_chat.py."""

import os

import litellm

where = {
    "api_base": os.environ.get("BASE_URL", "http://127.0.0.1:8000/v1"),
    "api_key": os.environ.get("API_KEY", "none"),
}
model = "openai/" + os.environ.get("MODEL", "demo-qwen2")
question = [{"role": "user", "content": "What is the capital of France?"}]

answer = litellm.completion(model=f"{model}:silly@0.8", messages=question, temperature=0.7, **where)
print(answer.choices[0].message.content)
print("what was done:", answer.steering)

fields = {"persona": "serious", "coefficient": 1.0}
for chunk in litellm.completion(
    model=model, messages=question, temperature=0.7, extra_body=fields, stream=True, **where
):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
