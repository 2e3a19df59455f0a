"""What a training run's numbers depend on, told for its report."""

from __future__ import annotations

import os
from collections.abc import Sequence

from kcompile.cli.fitting import Fit
from kcompile.keras import backend, config
from kcompile.keras.random_state import last_seed


def statements(fits: Sequence[Fit]) -> list[str]:
    """Sentences: what the seed fixes, and what of this run could still make another one differ."""
    devices = {str(fit.model._device() or "cpu") for fit in fits}
    found = [_seed(), _threads()]
    found += [_gpu(device) for device in sorted(devices) if device.startswith("cuda")]
    if any(fit.model.jit_compile for fit in fits):
        found.append(
            "jit_compile was on: compiled kernels sum in another order than those of a run without it, or where it fails."
        )
    found += [_data(fit) for fit in fits if fit.data != "arrays"]
    found.append(
        "Another processor, machine, number of processes or version of torch, numpy or kcompile may change the last "
        "digits, and with them the run."
    )
    return list(dict.fromkeys(found))


def _seed() -> str:
    seed = last_seed()
    if seed is None:
        return (
            "No seed was set, so another run gives other weights; keras.utils.set_random_seed(0) at the top of the script "
            "fixes first weights, the order of shuffled data and dropout."
        )
    return (
        f"The seed {seed} fixes first weights, the order of shuffled data and dropout: the same command gives the same "
        "weights on this machine, also where the run was stopped and resumed, but for what is said below."
    )


def _threads() -> str:
    count = backend.engine().threads()
    fixed = "OMP_NUM_THREADS fixes" if os.environ.get("OMP_NUM_THREADS") else "set OMP_NUM_THREADS to fix"
    return (
        f"Sums are split over {count} thread{'s' * (count != 1)}, and round otherwise with another number ({fixed} it)."
    )


def _gpu(device: str) -> str:
    tf32 = "TensorFloat-32 was on" if config.is_tf32_enabled() else "TensorFloat-32 was off"
    other = "disable_tf32" if config.is_tf32_enabled() else "enable_tf32"
    if config.is_determinism_enabled():
        order = "only deterministic algorithms were used, so that a second run on the same GPU gives the same numbers"
    else:
        order = (
            "cuDNN chose its algorithms by time, and atomic additions (gradients of embeddings, gathers, poolings) sum in "
            "any order, so that runs differ in the last digits; --deterministic or keras.config.enable_determinism() "
            "avoids both"
        )
    return f"On {device}, {tf32} (keras.config.{other}() is another rounding), and {order}."


def _data(fit: Fit) -> str:
    return (
        f"The data of {fit.model.name} came from {fit.data}: randomness of their own, the time at which workers read files, "
        "and files that change are not fixed by the seed."
    )
