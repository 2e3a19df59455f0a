"""The ``kcompile`` command."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from kcompile import __version__
from kcompile.cli import output
from kcompile.errors import KcompileError, StoppedError, did_you_mean

# Verb -> module in kcompile.cli; loaded when used, so that `kcompile --help` is quick.
VERBS = {
    "export": "export",
    "train": "train",
    "optimize": "optimize",
    "info": "info",
    "graph": "graph",
    "run": "run",
    "predict": "predict",
    "verify": "verify",
    "diff": "diff",
    "profile": "profile",
    "bench": "bench",
}
HELP = {
    "export": "Write a model as a small, verified ONNX file.",
    "train": "Train a script's model; stop it and go on, with a report.",
    "optimize": "Make any ONNX file smaller and faster, and prove it.",
    "info": "Inputs, outputs, operators, parameters and FLOPs of an ONNX file.",
    "graph": "A model's graph as text or as a drawing.",
    "run": "Run an ONNX file on .npy arrays.",
    "predict": "An ONNX file's outputs for all rows of a table.",
    "verify": "Compare an ONNX file with the model it came from.",
    "diff": "What differs between two models, in structure and weights.",
    "profile": "Where a model's time goes: by layer and by operator.",
    "bench": "Latency and throughput of an ONNX file.",
}


class Verbs(click.Group):
    """Loads a command's module when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        return importlib.import_module(f"kcompile.cli.{VERBS[name]}").command

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            raise click.UsageError(f"no command {args[0]!r}{did_you_mean(args[0], VERBS)}")
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(HELP.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kcompile")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Compile Keras-style models: trace, optimise, train, and deliver a verified ONNX file.

    Exit codes: 0 ok, 1 internal error, 2 usage, 3 unsupported, 4 a check failed or models differ, 5 a package or device is missing, 6 a process of a distributed run was lost, 130 interrupted.
    """


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Run the command line; returns the exit code. Errors are one line on stderr, unless ``--debug``."""
    debug = "--debug" in argv
    argv = [a for a in argv if a != "--debug"]
    if not argv:
        click.echo(cli.get_help(click.Context(cli, info_name="kcompile")), err=True)
        return 2
    try:
        result = cli.main(argv, prog_name="kcompile", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except KcompileError as error:
        return _fail(error, str(error), error.exit_code, debug)
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        return _fail(error, "interrupted", StoppedError.exit_code, debug)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"; see {context.command_path} --help" if context is not None else "; see kcompile --help"
        return _fail(error, error.format_message().rstrip(".") + hint, 2, debug)
    except Exception as error:
        text = f"internal error: {type(error).__name__}: {error}; please report it with the output of --debug"
        return _fail(error, text, 1, debug)


def _fail(error: BaseException | None, text: str, code: int, debug: bool) -> int:
    if debug and error is not None:
        import traceback

        traceback.print_exception(error)
    else:
        output.words(f"kcompile: error: {' '.join(text.split())}")
    return code
