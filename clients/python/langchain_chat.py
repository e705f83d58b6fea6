"""LangChain with a persona: pip install langchain-openai, then python langchain_chat.py."""

import os

from langchain_openai import ChatOpenAI

chat = ChatOpenAI(
    base_url=os.environ.get("BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("API_KEY", "none"),
    model=os.environ.get("MODEL", "demo-qwen2"),
    temperature=0.7,
)
silly = chat.bind(extra_body={"persona": "silly", "coefficient": 0.8})
print(silly.invoke("What is the capital of France?").content)

serious = chat.bind(extra_body={"persona": "serious"})
for chunk in serious.stream("What is the capital of France?"):
    print(chunk.content, end="", flush=True)
print()
