"""What an operator can set, and where from: defaults < a TOML file < PERSONA_PROXY_* < the command line's flags.

It knows nothing of engines, traits or HTTP.
"""

from proxy.settings.models import (
    DEMO_FOLDER,
    KNOWN_FOLDER,
    ModelSettings,
    data_folder,
    demo_models,
    models_folder,
    place_of,
)
from proxy.settings.reading import load_settings, model_settings, override_models
from proxy.settings.settings import ENVIRONMENT_PREFIX, Settings, fields_of, variable_of
from proxy.settings.upstream import UpstreamSettings, split_address

__all__ = [
    "DEMO_FOLDER",
    "ENVIRONMENT_PREFIX",
    "KNOWN_FOLDER",
    "ModelSettings",
    "Settings",
    "UpstreamSettings",
    "data_folder",
    "demo_models",
    "fields_of",
    "load_settings",
    "model_settings",
    "models_folder",
    "override_models",
    "place_of",
    "split_address",
    "variable_of",
]
