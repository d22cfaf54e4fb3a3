"""Attention whose scores stay in a thread's scratch memory, forward and backward; the bits are the bodies'."""
