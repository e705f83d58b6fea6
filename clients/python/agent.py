"""OpenAI's Agents SDK with a persona: pip install openai-agents, then python agent.py."""

import os

from agents import Agent, ModelSettings, OpenAIProvider, RunConfig, Runner
from openai import AsyncOpenAI

client = AsyncOpenAI(
    base_url=os.environ.get("BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("API_KEY", "none"),
)
agent = Agent(
    "Guide",
    model=os.environ.get("MODEL", "demo-qwen2"),
    model_settings=ModelSettings(temperature=0.7, extra_body={"persona": "silly", "coefficient": 0.8}),
)
config = RunConfig(model_provider=OpenAIProvider(openai_client=client), tracing_disabled=True)
print(Runner.run_sync(agent, "What is the capital of France?", run_config=config).final_output)
