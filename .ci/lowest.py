"""Print the lowest versions that setup.cfg promises, as constraints for pip; torch stays at its pin."""

import re
import sys
from configparser import ConfigParser
from pathlib import Path

settings = ConfigParser()
settings.read("setup.cfg")
extras = settings["options.extras_require"]
# What a developer works with is promised to nobody.
promises = "\n".join([settings["options"]["install_requires"], *(extras[name] for name in extras if name != "dev")])
bounds = set(re.findall(r"^([\w-]+)(?:\[\w+\])? >=([\w.]+)", promises, re.MULTILINE))
lowest = [f"{name}=={version}" for name, version in sorted(bounds) if name != "torch"]
pins = Path("constraints.txt").read_text(encoding="utf-8")
sys.stdout.write("\n".join([*lowest, *re.findall("^torch==.+", pins, re.MULTILINE)]) + "\n")
