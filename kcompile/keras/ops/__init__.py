"""`keras.ops`: functions on tensors, eager in torch or recorded where a model is traced."""

from kcompile.keras.ops.arrays import *  # noqa: F403
from kcompile.keras.ops.arrays import all, any, max, min, sum
from kcompile.keras.ops.core import cond, convert_to_numpy, convert_to_tensor, fori_loop, getitem, is_tensor, ndim, scan
from kcompile.keras.ops.core import ops_shape as shape
from kcompile.keras.ops.core import size, stop_gradient, while_loop
from kcompile.keras.ops.elementwise import *  # noqa: F403
from kcompile.keras.ops.elementwise import abs, round
from kcompile.keras.ops.nn import *  # noqa: F403
