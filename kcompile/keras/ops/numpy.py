"""`keras.ops.numpy`: the functions of `keras.ops` that numpy has too, under that name."""

from kcompile.keras.ops.arranging import *
from kcompile.keras.ops.arrays import *
from kcompile.keras.ops.control import vectorize
from kcompile.keras.ops.core import getitem, ndim, size
from kcompile.keras.ops.elementwise import *
from kcompile.keras.ops.grids import *
from kcompile.keras.ops.linalg import slogdet
from kcompile.keras.ops.nan import *
from kcompile.keras.ops.numeric import *
from kcompile.keras.ops.products import *
from kcompile.keras.ops.reductions import *
from kcompile.keras.ops.statistics import *
from kcompile.keras.ops.unsized import *
