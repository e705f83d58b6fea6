"""The demo world: a small generated language with known facts and known personality, and two tiny models of it.

`facts` is what is true, `styles` how it may be said, `world` makes conversations of both, `rules` scores an answer.
`models` and `train` make the two chat models, `gguf` writes one for llama.cpp. Nothing here knows of steering.
"""
