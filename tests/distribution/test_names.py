"""`keras.distribution` against real Keras: names, signatures, what is accepted and what is refused."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from kcompile import keras
from kcompile.errors import UnsupportedError, UsageError
from kcompile.keras.distribution import distributions
from tests.oracle import keras as real_keras

OURS = keras.distribution


def named(module: Any) -> list[str]:
    return [n for n in dir(module) if not n.startswith("_")]


@pytest.mark.parametrize("name", named(real_keras.distribution))
def test_names_and_signatures(name: str) -> None:
    real, ours = getattr(real_keras.distribution, name), getattr(OURS, name)
    wanted = [(p.name, p.default, p.kind) for p in inspect.signature(real).parameters.values()]
    assert [(p.name, p.default, p.kind) for p in inspect.signature(ours).parameters.values()] == wanted
    if inspect.isclass(real):
        # What belongs to tf.data is left out.
        missing = set(named(real)) - set(named(ours(*ARGUMENTS[name](OURS)))) if name in ARGUMENTS else set()
        assert missing <= {"distribute_tf_dataset"}


ARGUMENTS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "DeviceMesh": lambda d: ((1,), ["batch"], ["cpu:0"]),
    "DataParallel": lambda d: (),
    "LayoutMap": lambda d: (None,),
}


def mesh(d: Any) -> Any:
    return d.DeviceMesh((2, 2), ["batch", "model"], [f"cpu:{i}" for i in range(4)])


def line(d: Any) -> Any:
    # Of one axis: real Keras fails while it warns of more.
    return d.DeviceMesh((2,), ["batch"], ["cpu:0", "cpu:1"])


def layouts(d: Any) -> Any:
    found = d.LayoutMap(mesh(d))
    found[".*kernel"] = (None, "model")
    found["first/bias"] = d.TensorLayout(("model",))
    found["first.*"] = (None,)
    return found


ALIKE: dict[str, Callable[[Any], Any]] = {
    "shape of a mesh": lambda d: (mesh(d).shape, mesh(d).axis_names, mesh(d).devices.tolist()),
    "an empty mesh": lambda d: d.DeviceMesh((), []),
    "names for another rank": lambda d: d.DeviceMesh((2,), ["a", "b"], ["cpu:0", "cpu:1"]),
    "devices for another shape": lambda d: d.DeviceMesh((3,), ["a"], ["cpu:0", "cpu:1"]),
    "a layout": lambda d: d.TensorLayout((None, "model"), mesh(d)).axes,
    "a layout of unknown axes": lambda d: d.TensorLayout(("other",), mesh(d)),
    "a mesh set twice": lambda d: setattr(d.TensorLayout((None,), mesh(d)), "device_mesh", mesh(d)),
    "a map by pattern": lambda d: [layouts(d)[k] and layouts(d)[k].axes for k in ("a/kernel", "first/bias", "x")],
    "a map's pattern is of whole paths": lambda d: layouts(d)["a/kernel_2"],
    "a map with two patterns": lambda d: layouts(d)["first/kernel"],
    "a map's key twice": lambda d: layouts(d).__setitem__(".*kernel", (None,)),
    "a map's value": lambda d: layouts(d).__setitem__("x", 3),
    "a map's keys": lambda d: (list(layouts(d)), len(layouts(d))),
    "a map's axes": lambda d: layouts(d).__setitem__("x", ("other",)),
    "data parallel over devices": lambda d: (
        d.DataParallel(devices=["cpu:0", "cpu:1"]).device_mesh.shape,
        d.DataParallel(devices=["cpu:0", "cpu:1"]).batch_dim_name,
        d.DataParallel(devices=["cpu:0", "cpu:1"]).num_model_replicas,
    ),
    "data parallel over no mesh": lambda d: d.DataParallel(device_mesh=3),
    "layout of data": lambda d: d.DataParallel(line(d)).get_data_layout([8, 3, 2]).axes,
    "layout of a variable": lambda d: d.DataParallel(line(d)).get_variable_layout(np.zeros((2, 3))).axes,
    "model parallel without layouts": lambda d: d.ModelParallel(),
    "model parallel with no map": lambda d: d.ModelParallel(layout_map={}),
    "model parallel": lambda d: d.ModelParallel(layout_map=layouts(d), batch_dim_name="batch").num_model_replicas,
    "layout of a tensor": lambda d: d.ModelParallel(layout_map=layouts(d)).get_tensor_layout("a/kernel").axes,
}


@pytest.mark.parametrize("name", ALIKE)
def test_as_in_keras(name: str) -> None:
    def outcome(d: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return ALIKE[name](d)
            except (ValueError, TypeError) as error:
                return type(error)

    assert outcome(OURS) == outcome(real_keras.distribution)


def test_one_process_is_a_distribution_too() -> None:
    assert OURS.distribution() is None
    assert OURS.list_devices("CPU") == OURS.list_devices("cpu") == ["cpu:0"]
    assert OURS.list_devices()[0].startswith("gpu" if torch.cuda.is_available() else "cpu")
    assert OURS.get_device_count("cpu") == 1
    with OURS.DataParallel(devices=["cpu:0"]).scope():
        outer = OURS.distribution()
        assert isinstance(outer, OURS.DataParallel) and distributions.active() is None
        with OURS.DataParallel(devices=["cpu:0"]).scope():
            assert OURS.distribution() is not outer
        assert OURS.distribution() is outer
        model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        assert len(model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0).history["loss"]) == 1
    assert OURS.distribution() is None
    assert OURS.distribute_tensor(3.0, OURS.TensorLayout((None,))) == 3.0


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "two devices, one process": (
        lambda: OURS.set_distribution(OURS.DataParallel(devices=["cpu:0", "cpu:1"])), UsageError,
        "2 devices need 2 processes, here is 1: start the script with torchrun --nproc-per-node 2",
    ),
    "model parallel over devices": (
        lambda: OURS.set_distribution(OURS.ModelParallel(layout_map=OURS.LayoutMap(mesh(OURS)))), UsageError,
        "4 devices need 4 processes",
    ),
    "no distribution": (lambda: OURS.set_distribution("data"), ValueError, "takes a distribution or None"),
    "a split tensor": (
        lambda: OURS.distribute_tensor(3.0, OURS.TensorLayout(("model",), mesh(OURS))), UnsupportedError,
        "splits one tensor over devices",
    ),
    "half of initialize": (lambda: OURS.initialize("host:1", 2), UsageError, "process_id is missing"),
    "an address without a port": (lambda: OURS.initialize("host", 2, 0), UsageError, "must be host:port"),
    "a kind of device": (lambda: OURS.list_devices("abacus"), ValueError, "must be 'cpu', 'gpu' or 'tpu'"),
    "a mesh of torch's": (lambda: mesh(OURS).backend_mesh, UnsupportedError, "read `devices`"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    function, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        function()
    assert OURS.distribution() is None


@pytest.mark.parametrize(("axes", "shape", "wanted"), [
    (("model",), None, True), ((None,), None, False), ((None, "model"), (2, 2), True), (("model",), (4, 1), False), (("batch",), (4, 1), True),
])  # fmt: skip
def test_whether_a_layout_splits(axes: tuple[str | None, ...], shape: tuple[int, int] | None, wanted: bool) -> None:
    """One without a mesh may; an axis over one device does not."""
    on = None if shape is None else OURS.DeviceMesh(shape, ["batch", "model"], [f"cpu:{i}" for i in range(4)])
    assert OURS.TensorLayout(axes, on).splits is wanted


def test_where_processes_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first address; of process 0 too."""
    monkeypatch.setattr(distributions, "join", lambda: None)
    monkeypatch.setattr(distributions.os, "environ", {"KERAS_DISTRIBUTION_PROCESS_ID": "2"})
    OURS.initialize("first:1,second:2", 3, 0)
    assert {k: distributions.os.environ[k] for k in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")} == {
        "MASTER_ADDR": "first", "MASTER_PORT": "1", "WORLD_SIZE": "3", "RANK": "0",
    }  # fmt: skip
    OURS.initialize("first:1", 3)
    assert distributions.os.environ["RANK"] == "2"
