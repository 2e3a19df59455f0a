"""``kcompile train``."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kcompile.cli import output
from kcompile.cli.constants import parsed
from kcompile.cli.script import Loaded, call_user, load_model, train_function
from kcompile.cli.workers import as_rank, child, handed_on, in_processes, to_start
from kcompile.errors import StoppedError, UsageError, did_you_mean, printable
from kcompile.files.atomic import replacing

if TYPE_CHECKING:
    from kcompile.cli.fitting import Fit, Fitting

POSITIVE = click.IntRange(min=1)
MODELS = (".keras", ".onnx")


@click.command("train", cls=output.Command, short_help="Train a script's model; stop it and go on, with a report.")
@click.argument("source", metavar="SCRIPT")
@click.option("--name", help="Which model of the script.")
@click.option("--epochs", type=POSITIVE, metavar="N", help="Epochs of each fit, in place of the script's.")
@click.option("--batch-size", type=POSITIVE, metavar="N", help="Batch size of each fit, in place of the script's.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Another constant, or default of train.")
@click.option("--resume", is_flag=True, help="Go on where an earlier run was stopped, to the same weights.")
@click.option(
    "--checkpoint-dir", metavar="DIR", help="Keep the checkpoint here (default: SCRIPT.checkpoint, till done)."
)
@click.option("--tensorboard", metavar="DIR", help="Write event files for TensorBoard.")
@click.option("--report", metavar="FILE.html", help="Write curves, configuration and environment as one page.")
@click.option("--device", default="cpu", metavar="cpu|cuda[:N]|auto", help="Where to train (default: cpu).")
@click.option("--deterministic", is_flag=True, help="Only algorithms that give the same numbers each time, for GPUs.")
@click.option(
    "--distribute", type=click.Choice(["data", "fsdp"]), help="Split batches over processes; fsdp: weights too."
)
@click.option(
    "--workers", type=POSITIVE, metavar="N", help="Processes to start (default: one a GPU; not under torchrun)."
)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
@click.option("-o", "--output", "target", metavar="FILE.keras|FILE.onnx", help="Where to write the trained model.")
def command(
    source: str,
    name: str | None,
    epochs: int | None,
    batch_size: int | None,
    settings: tuple[str, ...],
    resume: bool,
    checkpoint_dir: str | None,
    tensorboard: str | None,
    report: str | None,
    device: str,
    deterministic: bool,
    distribute: str | None,
    workers: int | None,
    as_json: bool,
    target: str | None,
) -> output.Result:
    """Run SCRIPT and its `train(model)`; the options hold for every fit in it.

    A script that fits at its top needs no `train`. Ctrl-C ends the running epoch and keeps history and checkpoint, a second one stops at once; the same command with
    --resume goes on. Without -o the trained weights are left to what the script saves.
    """
    from kcompile.cli.fitting import Fitting

    page = None if report is None else _writable(report, "--report", (".html", ".htm"))
    model_file = None if target is None else _writable(target, "-o", MODELS)
    constants = parsed(settings)
    folder = Path(checkpoint_dir or f"{Path(source).stem}.checkpoint")
    fitting = Fitting(folder, epochs, batch_size, lambda number: _tensorboard(tensorboard, number))
    device = _device(device)
    if not child():
        _check_checkpoint(fitting, resume)
    if to_start(distribute, workers):
        return in_processes(click.get_current_context(), workers, device, as_json, partial(_kept, fitting))
    began = time.perf_counter()
    told = _told(
        constants, source, device=device, distributed=distribute, resumed=resume, epochs=epochs, batch=batch_size
    )
    with _set_up(distribute, device, deterministic, partial(_kept, fitting)):
        loaded, stop = _train(fitting, source, name, constants)
        seconds = time.perf_counter() - began
        if page is not None:
            _report(page, source, fitting.fits, told, f"{'Stopped' if stop else 'Done'} after {seconds:.1f} s in all.")
        if loaded is None or stop:
            raise StoppedError(_stopped(fitting)) from stop
        if model_file is not None:
            _write(loaded.model, model_file)
    if checkpoint_dir is None:
        fitting.forget()
    return handed_on(_result(loaded, fitting.fits, seconds, [f for f in (model_file, page) if f is not None], as_json))


def _told(constants: dict[str, Any], script: str, **options: Any) -> dict[str, Any]:
    """What the report says of the command."""
    given = {k: v for k, v in options.items() if v is not None}
    return {"script": script, **given, **{f"--set {k}": v for k, v in constants.items()}}


@contextlib.contextmanager
def _set_up(distribute: str | None, device: str, deterministic: bool, kept: Callable[[], str]) -> Iterator[None]:
    """Within, what is trained is on the device, by this process alone or by it as one of several."""
    from kcompile.keras import config
    from kcompile.keras.scopes import device as placed

    with contextlib.ExitStack() as after:
        if distribute is not None:
            device = after.enter_context(as_rank(distribute, device, kept))
        after.enter_context(placed(device))
        if deterministic:
            config.enable_determinism()
            after.callback(config.disable_determinism)
        yield


def _device(name: str) -> str:
    """The device's name, of ``auto`` what is there; UsageError for what is none."""
    if re.fullmatch(r"cpu|cuda(:[0-9]+)?", name):
        return name
    if name != "auto":
        hint = did_you_mean(name, ("cpu", "cuda", "auto"))
        raise UsageError(f"--device: unknown device {printable(name)!r}{hint}; use cpu, cuda, cuda:1 or auto")
    from kcompile.keras.scopes import automatic

    return automatic()


def _writable(path: str, option: str, suffixes: tuple[str, ...]) -> Path:
    """``path``, which shall not turn out to be wrong after hours of training."""
    found = Path(path)
    if found.suffix not in suffixes:
        raise UsageError(f"{option} {path}: expected a name that ends in {' or '.join(suffixes)}")
    if not found.parent.is_dir():
        raise UsageError(f"{option} {path}: the folder {found.parent} does not exist")
    return found


def _tensorboard(folder: str | None, number: int) -> list[Any]:
    """The callback for the fit of that number: the first writes into the folder itself."""
    from kcompile.keras.callbacks import TensorBoard

    if folder is None:
        return []
    return [TensorBoard(folder if number == 1 else Path(folder) / f"fit{number}")]


def _check_checkpoint(fitting: Fitting, resume: bool) -> None:
    found = fitting.checkpoints()
    if found and not resume:
        raise UsageError(f"{fitting.folder} holds the checkpoint of an earlier run: go on with --resume, or delete it")
    if resume and not found:
        output.words(f"kcompile: no checkpoint in {fitting.folder}, starting with the first epoch")


def _train(
    fitting: Fitting, source: str, name: str | None, constants: dict[str, Any]
) -> tuple[Loaded | None, KeyboardInterrupt | None]:
    """Run the script and its `train`, if it has not trained already; its model, and the Ctrl-C that ended it."""
    loaded = None
    try:
        with fitting.of_script():
            loaded = load_model(source, name, constants=constants)
            if not fitting.fits or callable(loaded.namespace.get("train")):
                call_user(train_function(loaded, "train"), loaded.source, loaded.model)
    except KeyboardInterrupt as stop:
        return loaded, stop
    if not fitting.fits:
        output.words(
            "kcompile: warning: train(model) called no fit; there is no checkpoint, and options of fit had no effect"
        )
    return loaded, None


def _stopped(fitting: Fitting) -> str:
    """What is left of a run that Ctrl-C stopped, in one line."""
    fit = fitting.fits[-1] if fitting.fits else None
    after = (
        f" after epoch {fit.done} of {fit.planned}" if fit is not None and fit.done and fitting.checkpoints() else ""
    )
    return f"stopped{after}; {_kept(fitting)}"


def _kept(fitting: Fitting) -> str:
    """How to go on."""
    if not fitting.checkpoints():
        return "no epoch was kept, there is nothing to go on with"
    return f"the checkpoint is in {fitting.folder}, go on with the same command and --resume"


def _report(page: Path, script: str, fits: list[Fit], told: dict[str, Any], note: str) -> None:
    from kcompile.cli.training_report import to_html

    text = to_html(f"Training of {Path(script).name}", fits, told, note)
    with replacing(page) as stream:
        stream.write(text.encode())


def _write(model: Any, path: Path) -> None:
    if path.suffix == ".keras":
        model.save(path)
    else:
        from kcompile.keras import exporting

        exporting.export(model, path)


def _result(loaded: Loaded, fits: list[Fit], seconds: float, files: list[Path], as_json: bool) -> output.Result:
    shown = [
        {"model": f.model.name, "epochs": f.done, "of": f.planned, "best": f.best, "history": f.curves} for f in fits
    ]
    data = {"source": str(loaded.source), "seconds": seconds, "fits": shown, "files": [str(f) for f in files]}
    lines = []
    for fit in fits:
        best = f"best {fit.best['epoch']} ({fit.best['by']} {fit.best['value']:.4g})" if fit.best else "no best"
        last = "  ".join(f"{k} {v[-1]:.4g}" for k, v in fit.curves.items())
        lines.append(f"{fit.model.name}  epoch {fit.done} of {fit.planned}, {best}  {last}")
    lines.append(f"time    {seconds:.1f} s")
    lines += [f"wrote   {', '.join(map(str, files))}"] if files else []
    if not any(f.suffix in MODELS for f in files):
        lines.append("model   only where the script saves it; -o FILE.keras or FILE.onnx writes it")
    return output.Result(data, "\n".join(lines), as_json)
