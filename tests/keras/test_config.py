"""keras.config, keras.mixed_precision and keras.dtype_policies against real Keras."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from kcompile.errors import UnsupportedError

from tests.keras.support import array, export_and_run, keras, numbers, real, same  # isort: skip
from keras.src.backend.common import global_state


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    yield
    for room in (keras, real):
        room.config.set_floatx("float32")
    keras.config.set_dtype_policy(None)
    # Real Keras has no public way back to "as floatx".
    global_state.set_global_attribute("dtype_policy", None)


POLICIES = ["float32", "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16", "int8"]


@pytest.mark.parametrize("name", POLICIES)
def test_policies(name: str) -> None:
    ours, theirs = (room.dtype_policies.DTypePolicy(name) for room in (keras, real))
    for attribute in ("name", "compute_dtype", "variable_dtype", "quantization_mode"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    made, wanted = (room.dtype_policies.serialize(p) for room, p in ((keras, ours), (real, theirs)))
    assert made == wanted
    assert keras.dtype_policies.deserialize(wanted) == ours
    assert isinstance(ours, keras.dtype_policies.FloatDTypePolicy)


@pytest.mark.parametrize("name", ["int8_from_float32", "int4_from_mixed_bfloat16", "float8_from_float32"])
def test_quantized_policies_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{name}.*quantized"):
        keras.dtype_policies.get(name)
    with pytest.raises(UnsupportedError, match="quantized"):
        keras.dtype_policies.deserialize(real.dtype_policies.serialize(real.dtype_policies.get("int8_from_float32")))


def test_policies_by_layer() -> None:
    maps = []
    for room in (keras, real):
        policy = room.dtype_policies.DTypePolicy
        made = room.dtype_policies.DTypePolicyMap(policy("mixed_bfloat16"), {"first": policy("float64")})
        made["block_.*"] = policy("float16")
        maps.append(made)
    ours, theirs = maps
    for path in ("first", "block_1", "other"):
        assert ours[path].name == theirs[path].name, path
    for attribute in ("name", "compute_dtype", "variable_dtype"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    assert list(ours) == list(theirs) and len(ours) == len(theirs)
    wanted = real.dtype_policies.serialize(theirs)
    again = keras.dtype_policies.deserialize(wanted)
    assert [again[p].name for p in ("first", "block_1", "other")] == ["float64", "float16", "mixed_bfloat16"]
    with pytest.raises(ValueError, match="already"):
        ours["first"] = "float32"
    del ours["first"]
    assert ours["first"].name == "mixed_bfloat16"
    layers = [keras.layers.Dense(2, dtype=ours, name=n) for n in ("block_7", "last")]
    assert [layer.compute_dtype for layer in layers] == ["float16", "bfloat16"]


@pytest.mark.parametrize("room", [keras, real], ids=["ours", "theirs"])
def test_the_global_policy_under_all_its_names(room: Any) -> None:
    room.mixed_precision.set_global_policy("mixed_bfloat16")
    assert room.config.dtype_policy().name == room.mixed_precision.global_policy().name == "mixed_bfloat16"
    assert room.layers.Dense(2).compute_dtype == "bfloat16"
    room.config.set_dtype_policy(room.mixed_precision.Policy("float64"))
    assert room.mixed_precision.dtype_policy().name == "float64"
    assert room.layers.Dense(2).variable_dtype == "float64"


def regressor(room: Any) -> Any:
    layers = [room.layers.Dense(5, activation="tanh"), room.layers.Dense(2)]
    return room.Sequential([room.Input((4,)), *layers])


@pytest.mark.parametrize("how", ["floatx", "policy"])
def test_float64_trains_and_exports(how: str) -> None:
    """Both a changed floatx and a float64 policy; the exported file agrees to 1e-12."""
    x, y = numbers((20, 4), 0, "float64"), numbers((20, 2), 1, "float64")
    models = []
    for room in (keras, real):
        room.config.set_floatx("float64") if how == "floatx" else room.config.set_dtype_policy("float64")
        models.append(regressor(room))
    ours, theirs = models
    for room, model in zip((keras, real), models, strict=True):
        model.set_weights([numbers(w.shape, i, "float64") for i, w in enumerate(model.weights)])
        assert {w.dtype for w in model.weights} == {"float64"}
        model.compile(room.optimizers.Adam(0.01), "mse", metrics=["mae"])
    found = [m.fit(x, y, epochs=3, batch_size=6, shuffle=False, verbose=0).history for m in models]
    # Real Keras keeps losses and metrics in float32, whose last digit is what differs.
    tolerance = 1e-6
    for name in found[1]:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=tolerance)
    same(ours.get_weights(), theirs.get_weights(), tolerance)
    assert array(ours(x)).dtype == np.float64
    # The input is floatx, as in Keras: float32 under a policy alone.
    x = x.astype(ours.inputs[0].dtype)
    outputs = export_and_run(ours, {ours.inputs[0].name: x}, {ours.inputs[0].name: x[:3]})
    same(outputs[0], ours(x), 1e-12)
    same(outputs[1], ours(x[:3]), 1e-12)


@pytest.mark.parametrize("floatx", ["float64", "float16"])
def test_promotion_follows_floatx(floatx: str) -> None:
    pairs = [("int32", float), (int, float), ("int64", "float32"), (float, float), ("int8", "int16"), ("bool", float),
             ("int32", "float16"), (int, int)]  # fmt: skip
    for room in (keras, real):
        room.config.set_floatx(floatx)
    for pair in pairs:
        assert keras.backend.result_type(*pair) == real.backend.result_type(*pair), pair
    if floatx == "float64":
        # Real Keras's result_type says float32 here, and its operators give float64; ours do what result_type says.
        return
    for args in ((np.ones(2, "int32"), 0.5), (np.ones(2, "float32"), 0.5), (np.ones(2, "int32"), 2)):
        assert array(keras.ops.add(*args)).dtype == array(real.ops.add(*args)).dtype, args


def test_switches_say_what_they_do() -> None:
    config = keras.config
    assert config.is_flash_attention_enabled()
    config.disable_flash_attention()
    assert not config.is_flash_attention_enabled()
    config.enable_flash_attention()
    with pytest.warns(UserWarning, match="never runs code"):
        config.enable_unsafe_deserialization()
    with pytest.warns(UserWarning, match="never filters"):
        config.enable_traceback_filtering()
    config.disable_traceback_filtering()
    assert not config.is_traceback_filtering_enabled() and not config.is_nnx_enabled()
    config.set_backend("torch")
    with pytest.raises(ValueError, match="jax"):
        config.set_backend("jax")
    assert keras.version() == keras.__version__ and keras.version().split(".")[:2] == real.version().split(".")[:2]


def test_scopes() -> None:
    for room in (keras, real):
        with room.name_scope("outer"), room.device("cpu:0"):
            assert room.Variable(np.ones(2), name="v").path == "outer/v"
        with pytest.raises((ValueError, TypeError)), room.name_scope("a/b"):
            pass
