"""All errors that this package raises on purpose.

Commands show their message alone; any other exception is a bug and keeps its traceback.
"""

from bert_multilabel.model.errors import MultiLabelError as MultiLabelError

# An environment variable: where it is set, commands show the traceback of these errors, too.
TRACEBACK = "BERT_MULTILABEL_TRACEBACK"


class CommandLineError(MultiLabelError):
    """A command line with unknown options."""


class DataError(MultiLabelError):
    """Data that cannot be used. The message says which, where it is and what to do."""


class FileError(MultiLabelError):
    """A file or directory that is damaged or cannot be written. The message says which, and what to do."""


class PushError(MultiLabelError):
    """A push that failed or could not succeed. The message says why, what is safe and how to push again."""


class ParityError(MultiLabelError):
    """An exported model whose probabilities differ from those of the original."""


class DivergedError(MultiLabelError):
    """Training that left NaN or infinite values in the model. The message says what to do."""


class MissingDependencyError(MultiLabelError, ImportError):
    """A package that an optional feature needs and that is not installed. The message says how to install it."""


class OtherProcessError(Exception):
    """Another process of the same job has failed; its own message says why."""
