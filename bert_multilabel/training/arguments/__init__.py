"""The options of training: the only list of them, with their defaults and checks."""

from .model import ModelArguments as ModelArguments
from .parser import RunArguments as RunArguments
from .parser import parse_arguments as parse_arguments
from .training import MultiLabelTrainingArguments as MultiLabelTrainingArguments
