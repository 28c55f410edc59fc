"""Writes a model as a folder with a web page that runs it in the visitor's browser, by Transformers.js.

It holds the page (`index.html`, `page.css` and scripts), `page.json` with what the page has to know, the model in
`model/` as `--format onnx` writes it, and in `library/` the files of Transformers.js and ONNX Runtime Web, copied from
their npm packages, with their licences. Any server of static files will do; no other host is asked for anything.
"""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from bert_multilabel.errors import MultiLabelError
from bert_multilabel.hub.read_card import card_examples
from bert_multilabel.loading import read_config
from bert_multilabel.model.input_template import InputTemplate
from bert_multilabel.model.likeliest_sets import LikeliestSets
from bert_multilabel.output_dir.checkpoints import trained_pair_column
from bert_multilabel.utils.files import atomic_folder, write_json

from .arguments import LIBRARY, ExportArguments
from .onnx_folder import write_model

NPM = f"ONNXRUNTIME_NODE_INSTALL=skip npm install {LIBRARY}@4"
_PAGE = Path(__file__).with_name("web")
_PAGE_FILES = ("index.html", "page.css", "page.js", "model.js", "input.js", "decision.js", "rules.js")
# The files of each npm package that a browser needs. These of ONNX Runtime compute on the processor.
_FILES = {
    LIBRARY: ["dist/transformers.web.min.js"],
    "onnxruntime-web": [
        *("dist/ort.wasm.min.mjs", "dist/ort-wasm-simd-threaded.mjs", "dist/ort-wasm-simd-threaded.wasm")
    ],
}
# Packages whose code is in these files.
_PARTS = (LIBRARY, "@huggingface/tokenizers", "@huggingface/jinja", "onnxruntime-web", "onnxruntime-common")
_report = partial(print, flush=True)


def export_web(model_dir: Path, options: ExportArguments) -> dict[str, Any]:
    """Export a trained model and its page, completely or not at all.

    Args:
        model_dir: A folder that a training run or `save_pretrained` wrote.
        options: What to write and where, and the examples to compare on.

    Returns:
        The content of `parity.json`, as `parity_report` describes it.

    Raises:
        MissingDependencyError: If a package of the extra `onnx` is missing.
        MultiLabelError: If Transformers.js is not there, or the page cannot obey the rules between labels; or as for
            `export_onnx`.
        ParityError: If the export differs too much from the original; nothing is written then.
    """
    packages = _find_packages(options.transformers_js)
    rules = _read_rules(model_dir)
    with atomic_folder(Path(options.output)) as folder:
        (folder / "model").mkdir()
        report, _ = write_model(model_dir, folder / "model", options)
        for runner in (folder / "model").glob("*.py"):
            runner.unlink()  # the page runs the model by itself
        for name in _PAGE_FILES:
            shutil.copyfile(_PAGE / name, folder / name)
        settings = {**_settings(model_dir, folder / "model"), "rules": rules, "quantized": _quantized(report, options)}
        write_json(folder / "page.json", settings)
        _copy_library(packages, folder / "library")
    _report(f"To see it: python -m http.server --bind 127.0.0.1 --directory {options.output}")
    return report


def _find_packages(named: str | None) -> dict[str, Path]:
    """Return the folders of the npm packages in `_PARTS`, by their names.

    Raises:
        MultiLabelError: If one is missing or lacks a file that the page needs.
    """
    library = Path(named or f"node_modules/{LIBRARY}")
    if not (library / "package.json").is_file():
        raise MultiLabelError(
            f"--format web copies Transformers.js from its npm package, but {library}/package.json is missing: run "
            f"{NPM} in this folder, or name the folder of the package with --transformers_js"
        )
    packages = {LIBRARY: library}
    for name in _PARTS[1:]:
        packages[name] = _resolve(name, packages.get("onnxruntime-web", library))
    for name, files in _FILES.items():
        if missing := [file for file in files if not (packages[name] / file).is_file()]:
            raise MultiLabelError(
                f"{packages[name]} lacks {', '.join(missing)}: the page was made for Transformers.js 4.3. Run {NPM}"
            )
    return packages


def _resolve(name: str, importer: Path) -> Path:
    """Find a package as an import in the package `importer` does: in `node_modules` there or further up."""
    for folder in (importer.resolve(), *importer.resolve().parents):
        if (folder / "node_modules" / name / "package.json").is_file():
            return folder / "node_modules" / name
    raise MultiLabelError(f"the npm package {name}, which {importer} needs, is not installed: run {NPM}")


def _read_rules(model_dir: Path) -> dict[str, Any] | None:
    """Return the rules between labels as the page reads them, None if there are none.

    Raises:
        MultiLabelError: If they are so many that Python finds the likeliest labels only approximately.
    """
    rules = getattr(read_config(model_dir), "checked_rules", None)
    if rules is None:
        return None
    sets = LikeliestSets(**rules.structure())
    if sets.inexact:
        raise MultiLabelError(
            f"{model_dir} obeys {rules}, too many of which depend on each other: their approximate search was not "
            "written for browsers, so that the page would answer otherwise. Serve this model (bert-multilabel serve, "
            "bert-multilabel page), or simplify its label_rules"
        )
    return sets.as_json()


def _quantized(report: dict[str, Any], options: ExportArguments) -> dict[str, Any] | None:
    """Return how many texts keep their labels in 8-bit integers; None if it is not so, or was not measured."""
    if options.quantize is None or options.file is None:
        return None
    return {"texts": report["rows"], "kept": report[options.quantize]["equal_rows"]}


def _settings(model_dir: Path, exported: Path) -> dict[str, Any]:
    """Return what `page.json` says of a model."""
    (graph,) = (exported / "onnx").glob("*.onnx")
    tokenizer = json.loads((exported / "tokenizer_config.json").read_text(encoding="utf-8"))
    template = InputTemplate.read(Tokenizer.from_file(str(exported / "tokenizer.json")).post_processor)
    return {
        "name": model_dir.resolve().name,
        "dtype": "q8" if graph.stem.endswith("_quantized") else "fp32",
        "bytes": graph.stat().st_size,
        "max_length": tokenizer["model_max_length"],
        "truncation_side": tokenizer["truncation_side"],
        "template": {kind: list(_pieces(template, kind)) for kind in ("single", "pair")},
        "takes_pairs": trained_pair_column(model_dir) != "",  # without a record of the training there may be pairs
        "examples": card_examples(model_dir),
    }


def _pieces(template: InputTemplate, kind: str) -> Iterator[dict[str, int]]:
    """Yield the pieces of an input as the page reads them: special tokens by their ids, texts by their numbers."""
    for piece in getattr(template, kind):
        if "Sequence" in piece:
            yield {"text": "AB".index(piece["Sequence"]["id"]), "segment": piece["Sequence"]["type_id"]}
        else:
            special = piece["SpecialToken"]
            for number in template.tokens[special["id"]]["ids"]:
                yield {"id": number, "segment": special["type_id"]}


def _copy_library(packages: dict[str, Path], folder: Path) -> None:
    folder.mkdir()
    for name, files in _FILES.items():
        for file in files:
            shutil.copyfile(packages[name] / file, folder / Path(file).name)
    (folder / "LICENSES.txt").write_text("\n\n".join(map(_licence, packages.values())), encoding="utf-8")


def _licence(package: Path) -> str:
    """Return the name, version and licence of an npm package; that of ONNX Runtime is not in its packages."""
    facts = json.loads((package / "package.json").read_text(encoding="utf-8"))
    source = next(iter(sorted(package.glob("LICENSE*"))), _PAGE / "onnxruntime_license.txt")
    return f"{facts['name']} {facts['version']} ({facts['license']})\n\n{source.read_text(encoding='utf-8')}"
