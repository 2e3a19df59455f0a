"""The report of a training run: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from typing import Any

from kcompile import __version__
from kcompile.cli.fitting import Fit
from kcompile.cli.reproducibility import statements
from kcompile.drawing import curves
from kcompile.drawing.svg import escaped
from kcompile.keras import backend
from kcompile.keras.random_state import last_seed

STYLE = """
body { font: 14px/1.5 sans-serif; color: #222; max-width: 980px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 22px } h2 { font-size: 17px; margin-top: 1.6em }
table { border-collapse: collapse } td { padding: 2px 14px 2px 0; vertical-align: top; overflow-wrap: anywhere }
td:first-child { color: #777; white-space: nowrap }
"""


def to_html(title: str, fits: list[Fit], settings: dict[str, Any], note: str) -> str:
    """The page: a section of each fit with its curves and configuration, the run's settings, where it ran."""
    sections = [_fit(i, fit, len(fits)) for i, fit in enumerate(fits, 1)]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f"<title>{escaped(title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{escaped(title)}</h1>\n<p>{escaped(note)}</p>",
            *sections,
            f"<h2>Run</h2>\n{_table({**settings, 'seed': _seed()})}",
            f"<h2>Environment</h2>\n{_table(environment())}",
            "<h2>Reproducibility</h2>\n<ul>",
            *(f"<li>{escaped(sentence)}</li>" for sentence in statements(fits)),
            "</ul>",
            "</body></html>\n",
        ]
    )


def _fit(number: int, fit: Fit, count: int) -> str:
    """A section: best epoch, time, curves, configuration."""
    best, curve = fit.best, fit.curves
    mark = None if best is None else best["epoch"]
    epochs = [row["epoch"] for row in fit.rows]
    pairs = [n for n in curve if not (n.startswith("val_") and n.removeprefix("val_") in curve)]
    charts = [curves.to_svg(n, epochs, {k: curve[k] for k in (n, f"val_{n}") if k in curve}, mark) for n in pairs]
    facts = {
        "best epoch": f"{best['epoch']} ({best['by']} {best['value']:.6g})" if best else "none",
        "epochs": f"{fit.done} of {fit.planned}",
        "time": f"{sum(row['seconds'] for row in fit.rows):.2f} s in epochs",
        **{f"last {name}": f"{values[-1]:.6g}" for name, values in curve.items()},
    }
    heading = f"Fit {number} of {count}: {fit.model.name}" if count > 1 else f"Model {fit.model.name}"
    body = [_table(facts), *charts, "<h2>Configuration</h2>", _table(configuration(fit))]
    return "\n".join([f"<h2>{escaped(heading)}</h2>", *body])


def configuration(fit: Fit) -> dict[str, Any]:
    """What the fit was told: sizes, optimizer, loss, metrics."""
    model = fit.model
    optimizer = model.optimizer.get_config()
    told = {f"optimizer {k}": _told(v) for k, v in optimizer.items() if v is not None and k != "name"}
    return {
        "parameters": f"{model.count_params():,}",
        "batch size": "32 (the default), or that of the data" if fit.batch_size is None else fit.batch_size,
        "steps an execution": model.steps_per_execution,
        "loss": _named(model.loss),
        "metrics": ", ".join(name for name in model.get_metrics_result() if name != "loss") or "none",
        "dtype": model.dtype_policy.name,
        "device": str(model._device() or "cpu"),
        "jit_compile": model.jit_compile,
        "data": fit.data,
        "optimizer": type(model.optimizer).__name__,
        **told,
    }


def environment() -> dict[str, str]:
    """Versions, processor and threads."""
    packages = {name: _version(name) for name in ("torch", "numpy", "onnx", "onnxruntime")}
    threads = os.environ.get("OMP_NUM_THREADS")
    return {
        "kcompile": __version__,
        "Python": platform.python_version(),
        **packages,
        "system": platform.platform(),
        "processor": _processor(),
        "processors": str(os.cpu_count()),
        **backend.devices().described(),
        "threads": f"{threads} (OMP_NUM_THREADS)" if threads else "torch's default",
        "written": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _table(facts: dict[str, Any]) -> str:
    rows = (f"<tr><td>{escaped(str(k))}</td><td>{escaped(str(v))}</td></tr>" for k, v in facts.items())
    return "<table>\n" + "\n".join(rows) + "\n</table>"


def _seed() -> str:
    seed = last_seed()
    return "none set" if seed is None else str(seed)


def _told(value: Any) -> Any:
    """A setting; a schedule, or an optimizer within, as the call that makes it."""
    if isinstance(value, dict) and {"class_name", "config"} <= value.keys():
        given = ", ".join(f"{k}={_told(v)}" for k, v in value["config"].items() if v is not None and k != "name")
        return f"{value['class_name']}({given})"
    return f"{value:.7g}" if isinstance(value, float) else value


def _named(loss: Any) -> str:
    """A loss, or several, by name."""
    if isinstance(loss, dict):
        return ", ".join(f"{k}: {_named(v)}" for k, v in loss.items())
    if isinstance(loss, (list, tuple)):
        return ", ".join(map(_named, loss))
    return loss if isinstance(loss, str) else str(getattr(loss, "__name__", None) or type(loss).__name__)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The processor's own name; Linux tells it in a file."""
    try:
        with open("/proc/cpuinfo") as stream:
            names = [line.partition(":")[2].strip() for line in stream if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
