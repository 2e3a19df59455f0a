"""`keras.ops`: functions on tensors, eager in torch or recorded where a model is traced."""

from kcompile.keras.ops import dispatch, image, linalg, nn, numpy
from kcompile.keras.ops.activation import *
from kcompile.keras.ops.adaptive import *
from kcompile.keras.ops.arranging import *
from kcompile.keras.ops.arrays import *
from kcompile.keras.ops.control import *
from kcompile.keras.ops.core import *
from kcompile.keras.ops.ctc import ctc_loss
from kcompile.keras.ops.elementwise import *
from kcompile.keras.ops.grids import *
from kcompile.keras.ops.linalg import *
from kcompile.keras.ops.nan import *
from kcompile.keras.ops.neural import *
from kcompile.keras.ops.numeric import *
from kcompile.keras.ops.products import *
from kcompile.keras.ops.reductions import *
from kcompile.keras.ops.scatter import *
from kcompile.keras.ops.sequences import *
from kcompile.keras.ops.signal import *
from kcompile.keras.ops.statistics import *
from kcompile.keras.ops.unsized import *
