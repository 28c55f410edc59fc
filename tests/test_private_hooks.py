"""Private methods of libraries are overridden as listed here, and the installed versions still have them."""

import inspect
from importlib import import_module
from pathlib import Path

import bert_multilabel

PACKAGE = Path(bert_multilabel.__file__).parent
# Each private method that is overridden: the parameters of the base class's, and why no public one serves.
HOOKS = {
    "MultiLabelTrainer._save_checkpoint": (
        ["self", "model", "trial"],
        "a checkpoint is moved into place when all of it is written, and `on_save` is too late",
    ),
    "MultiLabelPreTrainedModel._from_config": (
        ["config", "kwargs"],
        "`AutoModel.from_config` calls the wrong class where two directories share their code in one process",
    ),
    "BertForMultiLabelLabelTokens._init_weights": (
        ["self", "module"],
        "the hook that Transformers documents for new parameters: each label's own weights start at zero",
    ),
    "MultiLabelPipeline._sanitize_parameters": (
        ["self", "pipeline_parameters"],
        "one of the methods that Transformers asks a new pipeline to define",
    ),
    "MultiLabelPipeline._forward": (
        ["self", "input_tensors", "forward_parameters"],
        "one of the methods that Transformers asks a new pipeline to define",
    ),
}


def overridden():
    """Yield each private method of a class of ours that a class of a library has too, and that of the library."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "__main__.py":
            continue
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for cls in vars(import_module(name)).values():
            if not inspect.isclass(cls) or cls.__module__ != name:
                continue
            for method, value in vars(cls).items():
                if method.startswith("_") and not method.endswith("_") and callable(getattr(cls, method, None)):
                    for base in cls.__mro__[1:]:
                        if method in vars(base) and not base.__module__.startswith("bert_multilabel"):
                            if not method.startswith("_abc") and inspect.isroutine(value):
                                yield f"{cls.__name__}.{method}", getattr(base, method)
                            break


def test_private_methods_are_overridden_as_listed_and_as_they_are():
    found = dict(overridden())
    assert found.keys() == HOOKS.keys()
    for name, (parameters, reason) in HOOKS.items():
        assert list(inspect.signature(found[name]).parameters) == parameters, name
        assert reason
    assert sum(name.startswith("MultiLabelTrainer.") for name in HOOKS) <= 3
