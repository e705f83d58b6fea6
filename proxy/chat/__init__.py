"""A request on its way: from fields to prompt and plan, through the queue, and back as OpenAI's chunks. No HTTP."""
