"""Shows files of other folders as pages of the docs: benchmarks/RESULTS.md and the notebook of examples/."""

import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS, NOTEBOOK = "benchmarks/RESULTS.md", "examples/quickstart.ipynb"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    results = Path(RESULTS).read_text(encoding="utf-8")
    files.append(File.generated(config, "results.md", content=results))
    files.append(File.generated(config, "quickstart.md", content=_notebook()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links of other pages point to them."""
    return markdown.replace(f"(../{RESULTS}", "(results.md").replace(f"(../{NOTEBOOK}", "(quickstart.md")


def _notebook() -> str:
    cells = []
    for cell in json.loads(Path(NOTEBOOK).read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"]).replace("(../docs/", "(")
        if cell["cell_type"] == "code":
            text = f"```{'sh' if text.startswith('!') else 'python'}\n{text.removeprefix('!')}\n```"
        cells.append(text)
    return "\n\n".join(cells)
