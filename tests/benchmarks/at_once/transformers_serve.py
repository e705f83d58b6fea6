"""`transformers serve`, whose model answers at once: an answer repeats its prompt.

Run by the Python of the other servers' environment, with the command's own flags. Imports nothing of this project.
"""

import sys
from itertools import cycle, islice
from typing import Any

import torch
from transformers import GenerationMixin
from transformers.cli.transformers import main


def generate(self: Any, input_ids: Any, generation_config: Any, tokenizer: Any, streamer: Any = None, **_: Any) -> Any:
    """In place of reading the prompt and drawing tokens."""
    prompt = input_ids[0].tolist()
    said = (token for token in cycle(prompt) if token not in tokenizer.all_special_ids)
    tokens = torch.tensor([list(islice(said, generation_config.max_new_tokens))])
    if streamer is not None:
        streamer.put(input_ids.cpu())
        for token in tokens[0]:
            streamer.put(token[None])
        streamer.end()
    return torch.cat([input_ids, tokens], dim=1)


if __name__ == "__main__":
    setattr(GenerationMixin, "generate", generate)  # noqa: B010
    sys.exit(main())
