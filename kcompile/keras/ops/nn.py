"""`keras.ops.nn`: the neural-network functions of `keras.ops` under that name."""

from kcompile.keras.ops.activation import *
from kcompile.keras.ops.adaptive import *
from kcompile.keras.ops.arranging import depth_to_space, multi_hot, space_to_depth
from kcompile.keras.ops.arrays import one_hot
from kcompile.keras.ops.ctc import ctc_loss
from kcompile.keras.ops.neural import *
from kcompile.keras.ops.scatter import fold, unfold
from kcompile.keras.ops.sequences import (
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)
from kcompile.keras.ops.statistics import psnr
