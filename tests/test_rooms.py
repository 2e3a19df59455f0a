"""The one-way order of the rooms, and what an import loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kcompile"
# A room imports only from rooms on lines before its own.
ORDER = (
    ("errors",),
    ("ir",),
    ("operators",),
    ("passes", "tracing", "files", "drawing", "tables"),
    ("onnx", "engine", "runtime"),
    ("native",),
    ("keras",),
    ("cli",),
)
LINE = {room: i for i, rooms in enumerate(ORDER) for room in rooms}
# Who may import a heavy library.
HEAVY = {
    "torch": {"engine"},
    "onnxruntime": {"runtime"},
    "onnx": {"onnx"},
    "h5py": {"files"},
    "pyarrow": {"tables"},
    "ray": {"runtime"},
}
# Asking whether torch is there, for a message or a choice, is not using it.
PROBES = {"keras/backend.py", "keras/exporting.py", "keras/blame.py"}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Modules that a file imports anywhere in it, functions included; not those for type checking only."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module or "", node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def test_rooms_import_one_way() -> None:
    wrong = []
    for path in sources():
        room = room_of(path)
        for module, line in imports(path):
            parts = module.split(".")
            if parts[0] == "kcompile" and len(parts) > 1 and parts[1] in LINE and room in LINE:
                target = parts[1]
                if target != room and LINE[target] >= LINE[room]:
                    wrong.append(f"{path.relative_to(PACKAGE)}:{line}: {room} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_every_folder_is_a_room() -> None:
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert rooms <= set(LINE), rooms - set(LINE)


@pytest.mark.parametrize("library", HEAVY)
def test_heavy_libraries_stay_in_their_room(library: str) -> None:
    wrong = []
    for path in sources():
        name = path.relative_to(PACKAGE).as_posix()
        for module, line in imports(path):
            if module.split(".")[0] == library and room_of(path) not in HEAVY[library] and name not in PROBES:
                wrong.append(f"{name}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.torchless
@pytest.mark.parametrize("statement", ["import kcompile", "from kcompile import keras"])
def test_import_loads_nothing_heavy(statement: str) -> None:
    code = f"import sys; {statement}; print(*[m for m in {list(HEAVY)} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
