"""docs/architecture.md names what there is."""

import re
from configparser import ConfigParser
from pathlib import Path

import bert_multilabel

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(bert_multilabel.__file__).parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_page_names_every_folder_and_nothing_that_is_missing():
    named = set(re.findall(r"`([\w/]+(?:/|\.py))`", PAGE)) - {"bert_multilabel/"}
    for name in named:
        found = [ROOT / name, PACKAGE.parent / name, PACKAGE / name, *PACKAGE.glob(f"*/{name}")]
        assert any(path.exists() for path in found), name
    folders = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= named


def test_every_folder_and_module_is_in_a_layer():
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    listed = settings["importlinter:contract:layers"]["layers"].strip()
    assert f"```text\n{listed}\n```" in PAGE
    layers = set(re.findall(r"\w+", listed))
    parts = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    parts |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert layers == parts


def test_no_test_folder_is_without_what_it_tests():
    for folder in (ROOT / "tests").glob("*/__init__.py"):
        assert (PACKAGE / folder.parent.name).is_dir(), folder.parent.name
