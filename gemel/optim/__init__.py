"""Optimizers: torch's names, options and state dicts; one fused kernel per step."""
from . import lr_scheduler, swa_utils
from .adafactor import Adafactor
from .adam import Adam, AdamW, NAdam, RAdam
from .adaptive import Adadelta, Adagrad, Adamax, Rprop
from .lbfgs import LBFGS
from .muon import Muon
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import ASGD, SGD

__all__ = ["ASGD", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam",
           "Optimizer", "RAdam", "RMSprop", "Rprop", "lr_scheduler", "swa_utils"]
