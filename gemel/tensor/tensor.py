"""The public ``Tensor`` class: the core's state with the methods of each topic mixed in."""
from __future__ import annotations

from .arithmetic import ArithmeticMethods
from .arranging import ArrangingMethods
from .attributes import AttributeMethods
from .autograd_methods import AutogradMethods
from .comparison import ComparisonMethods
from .complex_numbers import ComplexMethods
from .contraction import ContractionMethods
from .conversion import ConversionMethods
from .copying import CopyingMethods
from .core import TENSOR_CLASSES, TensorCore, public
from .creation import CreationMethods
from .functions import FunctionMethods
from .indexing import IndexingMethods
from .joining import JoiningMethods
from .masking import MaskingMethods
from .matrices import MatrixMethods
from .movement import MovementMethods
from .pointwise import PointwiseMethods
from .printing import PrintingMethods
from .random import RandomMethods
from .reduction import ReductionMethods
from .scans import ScanMethods
from .scattering import ScatteringMethods
from .softmax import SoftmaxMethods
from .sorting import SortingMethods
from .spectral import SpectralMethods
from .statistics import StatisticsMethods
from .viewing import ViewingMethods
from .writing import WritingMethods


class Tensor(ArithmeticMethods, ComparisonMethods, PointwiseMethods, ReductionMethods, ScanMethods,
             SortingMethods, SoftmaxMethods, FunctionMethods, ViewingMethods, MovementMethods, ArrangingMethods,
             IndexingMethods, ScatteringMethods, MaskingMethods, WritingMethods, ComplexMethods, JoiningMethods,
             ContractionMethods, MatrixMethods, StatisticsMethods, SpectralMethods, CreationMethods, RandomMethods,
             ConversionMethods, PrintingMethods, AttributeMethods, CopyingMethods, AutogradMethods, TensorCore):
    """A multi-dimensional array of one dtype, as ``torch.Tensor``."""

    __slots__ = ()


public.append(Tensor)
TENSOR_CLASSES.add(Tensor)
