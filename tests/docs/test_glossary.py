"""The glossary's names exist, and no name means two things."""

import ast
import importlib
import re
from collections import defaultdict

import pytest

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "glossary.md").read_text("utf-8")
WORDS, SHARED = PAGE.split("## Words that two classes share")
NAMES = re.findall(r"`((?:proxy|vector_store)\.[\w.]+)`", WORDS)


def find(name: str) -> object:
    """What a dotted name stands for. ImportError or AttributeError where there is nothing."""
    module, _, rest = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), rest)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_glossary_then_the_code_has_it(name: str) -> None:
    if "llama_cpp" in name:
        pytest.importorskip("llama_cpp")
    assert find(name) is not None


def test_the_glossary_then_each_word_is_there_once_with_its_name() -> None:
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \| (.+?) \|$", WORDS, re.MULTILINE)
    words = [word for word, _, _ in rows if word not in ("word", "---")]
    assert len(words) == len(set(words)) and len(words) > 50
    assert all("`" in name for word, _, name in rows if word not in ("word", "---"))


def test_public_classes_when_two_have_one_name_then_the_glossary_says_why() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in (*ROOT.glob("proxy/**/*.py"), *ROOT.glob("vector_store/**/*.py")):
        for each in ast.parse(path.read_text("utf-8")).body:
            if isinstance(each, ast.ClassDef) and not each.name.startswith("_"):
                places[each.name].append(str(path.relative_to(ROOT)))
    shared = {name for name, paths in places.items() if len(paths) > 1}
    explained = set(re.findall(r"^\| `(\w+)` \| \w", SHARED, re.MULTILINE))
    assert {name: places[name] for name in shared - explained} == {}, "rename one, or say in the glossary why not"
    assert explained <= shared, "the glossary explains names that are not shared"
