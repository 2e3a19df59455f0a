"""One rank: trains the cases named on the command line and leaves what came out in a file."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from kcompile import keras
from kcompile.engine.distributed import rank
from tests.distribution.cases import trained


def main(kind: str, folder: str, names: list[str]) -> None:
    distributions = {"data": keras.distribution.DataParallel, "fsdp": keras.distribution.FullySharded}
    keras.distribution.set_distribution(distributions[kind]())
    results = {name: trained(name) for name in names}
    (Path(folder) / f"rank{rank()}.pickle").write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
