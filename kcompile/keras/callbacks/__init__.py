"""`keras.callbacks`."""

from kcompile.keras.callbacks.backup import BackupAndRestore
from kcompile.keras.callbacks.base import Callback, CallbackList, History, LambdaCallback, TerminateOnNaN
from kcompile.keras.callbacks.logs import CSVLogger, LearningRateScheduler
from kcompile.keras.callbacks.monitor import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback", "LearningRateScheduler",
    "ModelCheckpoint", "ReduceLROnPlateau", "TerminateOnNaN",
]  # fmt: skip
