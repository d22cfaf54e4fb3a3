"""``gemel COMMAND``: the command line. Each command is a function of one module of this package."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import doctor


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    parser = argparse.ArgumentParser(prog="gemel", description="Gemel's command line.")
    commands = parser.add_subparsers(dest="command", required=True)
    doctor.add_parser(commands)
    cache = commands.add_parser("cache", help="show or clear the cache of compiled kernels")
    cache.add_argument("action", choices=("show", "clear"), nargs="?", default="show")
    cache.set_defaults(run=_cache)
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)


def _cache(arguments: argparse.Namespace) -> int:
    from ..engine.runtime.cache import folder, trim
    where = folder()
    if arguments.action == "clear":
        print(f"removed {trim(0) / 2**20:.1f} MiB from {where}")
        return 0
    files = [p for p in where.glob("??/*") if p.is_file()] if where is not None else []
    print(f"{where}: {len(files)} kernels, {sum(p.stat().st_size for p in files) / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
