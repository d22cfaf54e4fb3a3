"""Image data sets."""
from .mnist import MNIST

__all__ = ["MNIST"]
