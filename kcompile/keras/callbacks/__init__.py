"""`keras.callbacks`."""

from kcompile.keras.callbacks.base import Callback, CallbackList, History, LambdaCallback, TerminateOnNaN

__all__ = ["Callback", "CallbackList", "History", "LambdaCallback", "TerminateOnNaN"]
