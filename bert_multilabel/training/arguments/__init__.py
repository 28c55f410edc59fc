"""Reads the options of training, and checks them together with those of Trainer."""

from .parser import RunArguments as RunArguments
from .parser import parse_arguments as parse_arguments
from .parser import read_options as read_options
from .training import MultiLabelTrainingArguments as MultiLabelTrainingArguments
