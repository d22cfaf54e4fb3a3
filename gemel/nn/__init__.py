"""Neural networks: functions, layers, initialisation."""
from . import attention, functional, init, utils
from .modules import *
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter
