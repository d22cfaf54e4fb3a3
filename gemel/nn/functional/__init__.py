"""Functions on tensors with torch.nn.functional's names."""
from .activation import *
from .attention import *
from .convolution import *
from .ctc import *
from .distance import *
from .dropout import *
from .embedding import *
from .linear import *
from .loss import *
from .normalization import *
from .padding import *
from .pooling import *
from .resampling import *
from .sampling import *
from .vision import *
