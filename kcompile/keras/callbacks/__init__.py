"""`keras.callbacks`."""

from kcompile.keras.callbacks.averages import SwapEMAWeights
from kcompile.keras.callbacks.backup import BackupAndRestore
from kcompile.keras.callbacks.base import (
    Callback,
    CallbackList,
    History,
    LambdaCallback,
    ProgbarLogger,
    TerminateOnNaN,
)
from kcompile.keras.callbacks.logs import CSVLogger, LearningRateScheduler
from kcompile.keras.callbacks.monitor import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from kcompile.keras.callbacks.remote import RemoteMonitor
from kcompile.keras.callbacks.tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "ProgbarLogger", "ReduceLROnPlateau", "RemoteMonitor",
    "SwapEMAWeights", "TensorBoard", "TerminateOnNaN",
]  # fmt: skip
