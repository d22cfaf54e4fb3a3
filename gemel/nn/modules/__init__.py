"""Layers, one family per file."""
from . import utils as utils
from .activation import *
from .adaptive import *
from .attention import *
from .batchnorm import *
from .container import *
from .conv import *
from .distance import *
from .dropout import *
from .embedding import *
from .flatten import *
from .instancenorm import *
from .linear import *
from .loss import *
from .module import *
from .normalization import *
from .padding import *
from .parallel import *
from .pooling import *
from .rearranging import *
from .rnn import *
from .transformer import *
from .upsampling import *

#: the classes, and not the files: ``nn.attention`` is another one than ``nn.modules.attention``
__all__ = [name for name in dir() if name[0].isupper()]
