"""`keras.ops`: functions on tensors, eager in torch or recorded where a model is traced."""

from kcompile.keras.ops.arrays import *  # noqa: F403
from kcompile.keras.ops.core import *  # noqa: F403
from kcompile.keras.ops.elementwise import *  # noqa: F403
from kcompile.keras.ops.nn import *  # noqa: F403
