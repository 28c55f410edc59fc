"""Show benchmarks/RESULTS.md as a page of the docs, where it is called results.md."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = "benchmarks/RESULTS.md"


def on_files(files: Files, config: Any) -> Files:
    """Add the page."""
    text = Path(RESULTS).read_text(encoding="utf-8")
    files.append(File.generated(config, "results.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links of other pages point to it."""
    return markdown.replace(f"(../{RESULTS}", "(results.md")
