"""Check that two wheels hold the same files: `python .ci/same_wheel.py ONE.whl OTHER.whl`."""

import sys
from zipfile import ZipFile


def contents(path: str) -> dict[str, int]:
    """Return the checksum of each file in a wheel; RECORD lists the others, in any order."""
    with ZipFile(path) as wheel:
        return {entry.filename: entry.CRC for entry in wheel.infolist() if not entry.filename.endswith("/RECORD")}


one, other = map(contents, sys.argv[1:])
if different := [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]:
    sys.exit(f"the wheels differ in {', '.join(different)}")
