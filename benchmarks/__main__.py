"""Every benchmark, one after the other, each in a process of its own; fails if one of them does.

    python -m benchmarks [--json FILE] [NAME ...]

Ends with one table: every line beside its budget and beside the machine's own limit of the same run.
"""

from __future__ import annotations

import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

import benchmarks
from benchmarks import machine, report


def main() -> int:
    """Run them in the order of their names; 1 if any exited with another code than 0."""
    arguments = report.parser(__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME", help="only these, e.g. bench_store")
    options = arguments.parse_args()
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="orledger-bench-", dir=Path()) as folder:
        lines = machine.measure(Path(folder)).lines()
        for module in sorted(pkgutil.iter_modules(benchmarks.__path__), key=lambda module: module.name):
            if not module.name.startswith("bench_") or (options.names and module.name not in options.names):
                continue
            print(f"\n== {module.name}", flush=True)
            found = Path(folder) / f"{module.name}.json"
            command = [sys.executable, "-m", f"benchmarks.{module.name}", "--json", str(found)]
            if subprocess.run(command, check=False).returncode:
                failed.append(module.name)
            lines += report.load(found) if found.exists() else []
    print("\n== all")
    report.finish(lines, options.json)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
