"""`keras.callbacks`."""

from kcompile.keras.callbacks.base import Callback, CallbackList, History, LambdaCallback, TerminateOnNaN
from kcompile.keras.callbacks.logs import CSVLogger, LearningRateScheduler
from kcompile.keras.callbacks.monitor import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau

__all__ = [
    "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback", "LearningRateScheduler",
    "ModelCheckpoint", "ReduceLROnPlateau", "TerminateOnNaN",
]  # fmt: skip
