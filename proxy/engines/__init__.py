"""Engines run models. `base` says what an engine is; each other module is one of them."""
