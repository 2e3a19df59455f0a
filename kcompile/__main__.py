"""``python -m kcompile`` is the ``kcompile`` command."""

from kcompile.cli.main import main

if __name__ == "__main__":
    main()
