"""`keras.distribution`: training by several processes."""

from kcompile.keras.distribution.distributions import (
    DataParallel,
    FullySharded,
    ModelParallel,
    distribution,
    initialize,
    set_distribution,
)
from kcompile.keras.distribution.mesh import (
    DeviceMesh,
    LayoutMap,
    TensorLayout,
    distribute_tensor,
    get_device_count,
    list_devices,
)

__all__ = [
    "DataParallel",
    "DeviceMesh",
    "FullySharded",
    "LayoutMap",
    "ModelParallel",
    "TensorLayout",
    "distribute_tensor",
    "distribution",
    "get_device_count",
    "initialize",
    "list_devices",
    "set_distribution",
]
