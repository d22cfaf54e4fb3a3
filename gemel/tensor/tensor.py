"""The public ``Tensor`` class: the core's state with the methods of each topic mixed in."""
from __future__ import annotations

from typing import Any

from ..engine.base.errors import UnsupportedError
from .arithmetic import ArithmeticMethods
from .arranging import ArrangingMethods
from .attributes import AttributeMethods
from .autograd_methods import AutogradMethods
from .comparison import ComparisonMethods
from .complex_numbers import ComplexMethods
from .contraction import ContractionMethods
from .conversion import ConversionMethods
from .copying import CopyingMethods
from .core import TENSOR_CLASSES, TensorCore
from .creation import CreationMethods
from .functions import FunctionMethods
from .indexing import IndexingMethods
from .joining import JoiningMethods
from .legacy import LegacyMethods, constructed
from .masking import MaskingMethods
from .matrices import MatrixMethods
from .movement import MovementMethods
from .pointwise import PointwiseMethods
from .printing import PrintingMethods
from .random import RandomMethods
from .recording import public
from .reduction import ReductionMethods
from .scans import ScanMethods
from .scattering import ScatteringMethods
from .softmax import SoftmaxMethods
from .sorting import SortingMethods
from .spectral import SpectralMethods
from .statistics import StatisticsMethods
from .typeinfo import get_default_dtype
from .viewing import ViewingMethods
from .writing import WritingMethods


class Tensor(ArithmeticMethods, ComparisonMethods, PointwiseMethods, ReductionMethods, ScanMethods,
             SortingMethods, SoftmaxMethods, FunctionMethods, ViewingMethods, MovementMethods, ArrangingMethods,
             IndexingMethods, ScatteringMethods, MaskingMethods, WritingMethods, ComplexMethods, JoiningMethods,
             ContractionMethods, MatrixMethods, StatisticsMethods, SpectralMethods, CreationMethods, RandomMethods,
             ConversionMethods, LegacyMethods, PrintingMethods, AttributeMethods, CopyingMethods,
             AutogradMethods, TensorCore):
    """A multi-dimensional array of one dtype, as ``torch.Tensor``.

    ``Tensor(2, 3)`` has arbitrary contents, ``Tensor([1, 2])`` is made of numbers, both of the default dtype;
    ``gemel.tensor`` and ``gemel.empty`` say which is meant.

    >>> gemel.Tensor([1, 2])
    tensor([1., 2.])
    """

    __slots__ = ()

    def __new__(cls, *data: Any, device: Any = None) -> Any:
        if cls is not Tensor:
            raise UnsupportedError(f"{cls.__name__}: a subclass of Tensor must define __new__. Received: {data!r}")
        return constructed(get_default_dtype(), data, device)


public.append(Tensor)
TENSOR_CLASSES.add(Tensor)
