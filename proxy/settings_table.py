"""The tables of settings that the manual and `persona-proxy settings` show, written from the settings themselves."""

import msgspec

from proxy.judge_settings import JudgeSettings
from proxy.settings import ModelSettings, Settings, UpstreamSettings, fields_of, variable_of

_IN_FILES_ONLY = ("judges",)
_SHOWN_DEFAULTS = {
    "models": "SmolLM2, and the demo models on demand",
    "vectors_dir": "`vectors` in the user's data folder",
    "traits_dir": "`traits` in the user's data folder",
    "jobs_dir": "`jobs` in the user's data folder",
    "transfers_dir": "`transfers` in the user's data folder",
    "id": "from the source",
    "source": "required",
    "judges": "none",
    "name": "required",
    "base_url": "required",
    "model": "required",
}


def describe_settings() -> str:
    """Markdown tables of all settings and of those of one model, its servers and one judge: name, variable, default,
    meaning."""
    lines = ["| setting | environment | default | meaning |", "| --- | --- | --- | --- |"]
    for name, default, meaning in fields_of(Settings):
        variable = "none" if name in _IN_FILES_ONLY else f"`{variable_of(name)}`"
        lines.append(f"| `{name}` | {variable} | {_shown(name, default)} | {meaning} |")
    tables: list[tuple[str, type]] = [
        ("Of each model, in its `[[models]]` table:", ModelSettings),
        ("Of a model on other servers, in `[models.upstream]` behind its table:", UpstreamSettings),
        ("Of each judge, in its `[[judges]]` table:", JudgeSettings),
    ]
    for head, type_ in tables:
        lines += ["", head, "", "| key | default | meaning |"]
        lines.append("| --- | --- | --- |")
        for name, default, meaning in fields_of(type_):
            lines.append(f"| `{name}` | {_shown(name, default)} | {meaning} |")
    return "\n".join(lines)


def _shown(name: str, default: object) -> str:
    if name in _SHOWN_DEFAULTS:
        return _SHOWN_DEFAULTS[name]
    return "none" if default in (None, msgspec.NODEFAULT) else f"`{default}`"
