"""OpenAI's Python SDK with a persona: pip install openai, then python chat.py."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("API_KEY", "none"),
)
model = os.environ.get("MODEL", "demo-qwen2")
question = "What is the capital of France?"

answer = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": question}],
    extra_body={"persona": "silly", "coefficient": 1.0},
)
print(answer.choices[0].message.content)
print("what was done:", answer.model_extra["steering"])

stream = client.chat.completions.create(
    model=f"{model}:silly@-1",  # the same as the persona "serious" at 1
    messages=[{"role": "user", "content": question}],
    stream=True,
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()
