import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from bert_multilabel.utils.extras import EXTRAS, check_installed

SETUP = Path(__file__).resolve().parents[2] / "setup.cfg"


def test_each_extra_installs_what_is_asked_of_it():
    setup = ConfigParser()
    setup.read(SETUP)
    for extra, packages in EXTRAS.items():
        lines = setup["options.extras_require"][extra].split("\n")
        assert {re.split(r"[ \[]", line)[0] for line in lines if line} == set(packages)


def test_what_is_missing_is_named_with_what_installs_it():
    check_installed("this", "onnx", ["pytest"])
    with pytest.raises(ImportError, match=r"this needs the package no_such: pip install 'bert-multilabel\[onnx\]'"):
        check_installed("this", "onnx", ["pytest", "no_such"])
