"""Plain definitions of models, with the parameter names under which their weights are published."""
from .gpt2 import GPT2Config, GPT2LMHeadModel, GPT2Model

__all__ = ["GPT2Config", "GPT2LMHeadModel", "GPT2Model"]
