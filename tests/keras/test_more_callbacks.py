"""TensorBoard (read back by TensorBoard itself), SwapEMAWeights, RemoteMonitor, ProgbarLogger."""

from __future__ import annotations

import builtins
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kcompile.errors import MissingError
from tests.keras.support import close, keras, numbers, real

X, Y = numbers((20, 4)), numbers((20, 2), 1)


def model(room: Any, optimizer: Any = None) -> Any:
    layers = [room.layers.Dense(3, activation="tanh", name="first"), room.layers.Dense(2, name="last")]
    made = room.Sequential([room.Input((4,)), *layers])
    made.set_weights([numbers(w.shape, i) for i, w in enumerate(made.weights)])
    made.compile(optimizer or room.optimizers.SGD(0.1), "mse", metrics=["mae"])
    return made


def events(folder: Path) -> Any:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    read.Reload()
    return read


def curve(read: Any, tag: str) -> list[tuple[int, float]]:
    from tensorboard.util.tensor_util import make_ndarray

    return [(e.step, float(make_ndarray(e.tensor_proto))) for e in read.Tensors(tag)]


def test_tensorboard_reads_the_scalars_under_keras_names(tmp_path: Path) -> None:
    callback = keras.callbacks.TensorBoard(tmp_path, write_steps_per_second=True)
    history = (
        model(keras).fit(X, Y, batch_size=5, epochs=3, verbose=0, callbacks=[callback], validation_data=(X, Y)).history
    )
    train, validation = events(tmp_path / "train"), events(tmp_path / "validation")
    scalars = train.summary_metadata
    assert scalars["epoch_loss"].plugin_data.plugin_name == "scalars"
    assert set(train.Tags()["tensors"]) == {
        "keras", "epoch_loss", "epoch_mae", "epoch_learning_rate", "epoch_steps_per_second",
    }  # fmt: skip
    assert set(validation.Tags()["tensors"]) == {
        "epoch_loss", "epoch_mae", "evaluation_loss_vs_iterations", "evaluation_mae_vs_iterations",
    }  # fmt: skip
    for read, tag, name in ((train, "epoch_loss", "loss"), (validation, "epoch_mae", "val_mae")):
        steps, values = zip(*curve(read, tag), strict=True)
        assert steps == (0, 1, 2)
        np.testing.assert_allclose(values, history[name], rtol=1e-6)
    assert [s for s, _ in curve(validation, "evaluation_loss_vs_iterations")] == [4, 8, 12]
    np.testing.assert_allclose([v for _, v in curve(train, "epoch_learning_rate")], 0.1, rtol=1e-6)


def test_tensorboard_writes_the_model_and_weights(tmp_path: Path) -> None:
    callback = keras.callbacks.TensorBoard(tmp_path, histogram_freq=2, write_images=True)
    model(keras).fit(X, Y, epochs=3, verbose=0, callbacks=[callback])
    read = events(tmp_path / "train")
    graph = read.Tensors("keras")[0].tensor_proto.string_val[0]
    assert json.loads(graph)["class_name"] == "Sequential"
    assert read.summary_metadata["keras"].plugin_data.plugin_name == "graph_keras_model"
    tags = set(read.Tags()["tensors"])
    for part in ("first/kernel", "first/bias", "last/kernel", "last/bias"):
        path = next(t for t in tags if t.endswith(f"{part}/histogram"))
        assert [e.step for e in read.Tensors(path)] == [0, 2]
        image = read.Tensors(path.replace("histogram", "image"))[0].tensor_proto.string_val
        assert image[2].startswith(b"\x89PNG")
        assert read.summary_metadata[path].plugin_data.plugin_name == "histograms"


@pytest.mark.parametrize("often, steps", [("batch", [1, 2, 3, 4]), (2, [2, 4]), ("epoch", [])])
def test_tensorboard_writes_batches_where_asked(tmp_path: Path, often: Any, steps: list[int]) -> None:
    callback = keras.callbacks.TensorBoard(tmp_path, update_freq=often, write_graph=False)
    model(keras).fit(X, Y, batch_size=5, verbose=0, callbacks=[callback])
    read = events(tmp_path / "train")
    found = [s for s, _ in curve(read, "batch_loss")] if steps else read.Tags()["tensors"]
    assert found == steps if steps else "batch_loss" not in found


def test_tensorboard_writes_embeddings_for_the_projector(tmp_path: Path) -> None:
    made = keras.Sequential([keras.Input((3,)), keras.layers.Embedding(5, 2, name="words"), keras.layers.Flatten()])
    made.compile("sgd", "mse")
    callback = keras.callbacks.TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"words": "words.txt"})
    made.fit(np.zeros((4, 3), int), np.zeros((4, 6)), verbose=0, callbacks=[callback])
    pytest.importorskip("tensorboard")
    from google.protobuf import text_format
    from tensorboard.plugins.projector import ProjectorConfig

    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert config.embeddings[0].metadata_path == "words.txt"
    table = np.loadtxt(tmp_path / config.embeddings[0].tensor_path, delimiter="\t")
    np.testing.assert_allclose(table, made.layers[0].embeddings.numpy(), rtol=1e-6)
    with pytest.raises(ValueError, match="'word'"):
        made.fit(np.zeros((4, 3), int), np.zeros((4, 6)), verbose=0, callbacks=[
            keras.callbacks.TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"word": "words.txt"})])  # fmt: skip


def test_tensorboard_says_what_is_missing_and_what_it_can_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in (real, keras):
        with pytest.raises(ValueError, match="profile_batch"):
            room.callbacks.TensorBoard(tmp_path, profile_batch=3)
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("tensorboard"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingError, match=r"pip install 'kcompile\[tensorboard\]'"):
        model(keras).fit(X, Y, verbose=0, callbacks=[keras.callbacks.TensorBoard(tmp_path)])


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_averages_are_evaluated_and_saved_as_in_keras(swap_on_epoch: bool) -> None:
    found = []
    for room in (real, keras):
        seen: list[np.ndarray] = []

        class Look(room.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None, seen: Any = seen) -> None:
                seen.append(np.concatenate([np.ravel(w) for w in self.model.get_weights()]))

        made = model(room, room.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.7))
        history = made.fit(X, Y, epochs=3, verbose=0, shuffle=False, batch_size=5, validation_data=(X, Y), callbacks=[
            room.callbacks.SwapEMAWeights(swap_on_epoch), Look()]).history  # fmt: skip
        found.append((history, seen, made.get_weights()))
    (wanted, looked, weights), (got, ours, own) = found
    for name, values in wanted.items():
        np.testing.assert_allclose(got[name], values, rtol=2e-5)
    for a, b in zip([*ours, *own], [*looked, *weights], strict=True):
        close(a, b, 2e-5, what="weights")


def test_averages_need_an_optimizer_that_keeps_them() -> None:
    for room in (real, keras):
        with pytest.raises(ValueError, match="use_ema"):
            model(room).fit(X, Y, verbose=0, validation_data=(X, Y), callbacks=[room.callbacks.SwapEMAWeights()])


@pytest.fixture
def server() -> Iterator[tuple[str, list[Any]]]:
    """(address, what was posted there)."""
    posted: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            posted.append((self.path, self.headers["Content-Type"], self.headers.get("X-Key"), body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    running = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}", posted
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.mark.parametrize("as_json", [False, True])
def test_remote_monitor_posts_what_keras_posts(server: tuple[str, list[Any]], as_json: bool) -> None:
    pytest.importorskip("requests")
    root, posted = server
    for room in (real, keras):
        callback = room.callbacks.RemoteMonitor(root=root, headers={"X-Key": "k"}, send_as_json=as_json)
        callback.on_epoch_end(2, {"loss": np.float32(0.5), "mae": 1.25})
    theirs, ours = posted
    assert ours[:3] == theirs[:3]
    values = [json.loads(p[3] if as_json else urllib.parse.parse_qs(p[3])["data"][0]) for p in posted]
    assert values[0] == values[1] == {"epoch": 2, "loss": 0.5, "mae": 1.25}


def test_remote_monitor_goes_on_without_a_server() -> None:
    with pytest.warns(UserWarning, match="Could not reach RemoteMonitor root server"):
        keras.callbacks.RemoteMonitor("http://127.0.0.1:1").on_epoch_end(0, {"loss": 1.0})
    with pytest.raises(ValueError, match="http"):
        keras.callbacks.RemoteMonitor("file:///etc/passwd")


def test_progress_is_shown_once_and_may_go_to_the_log(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    made = model(keras)
    made.fit(X, Y, epochs=2, callbacks=[keras.callbacks.ProgbarLogger()])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["Epoch", "1/1", "Epoch", "1/1"]
    assert all(" - loss: " in line for line in lines[1::2])
    keras.config.disable_interactive_logging()
    try:
        assert not keras.config.is_interactive_logging_enabled()
        with caplog.at_level("INFO", "kcompile.keras"):
            made.fit(X, Y, epochs=2)
    finally:
        keras.config.enable_interactive_logging()
    assert capsys.readouterr().out == ""
    assert len(caplog.messages) == 4 and "loss" in caplog.messages[1]


def test_callback_lists_serve_loops_of_ones_own() -> None:
    for room in (real, keras):
        calls: list[Any] = []

        class Watch(room.callbacks.Callback):
            def on_batch_end(self, batch: int, logs: Any = None, calls: Any = calls) -> None:
                calls.append((batch, logs, self.params["epochs"], self.model is not None))

        made = model(room)
        runner = room.callbacks.CallbackList([Watch()], add_history=True, model=made, epochs=2)
        runner.on_train_begin()
        for epoch in range(2):
            runner.on_epoch_begin(epoch)
            runner.on_train_batch_begin(0)
            runner.on_train_batch_end(0, {"loss": 1.0})
            runner.on_epoch_end(epoch, {"loss": 1.0})
        runner.on_train_end()
        assert calls == [(0, {"loss": 1.0}, 2, True)] * 2
        histories = [c for c in runner.callbacks if isinstance(c, room.callbacks.History)]
        assert len(histories) == 1 and histories[0].history == {"loss": [1.0, 1.0]}
