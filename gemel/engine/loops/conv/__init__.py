"""Convolutions: ``schedule_conv`` and its two gradients. See ``schedule`` for the strategy."""
from .schedule import schedule_conv, schedule_conv_transpose, schedule_conv_weight_grad

__all__ = ["schedule_conv", "schedule_conv_transpose", "schedule_conv_weight_grad"]
