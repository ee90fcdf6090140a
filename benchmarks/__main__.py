"""Every benchmark, one after the other, each in a process of its own; fails if one of them does."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import benchmarks


def main() -> int:
    """Run them in the order of their names; 1 if any exited with another code than 0."""
    failed = []
    for module in sorted(pkgutil.iter_modules(benchmarks.__path__), key=lambda module: module.name):
        if not module.name.startswith("bench_"):
            continue
        print(f"\n== {module.name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{module.name}"], check=False).returncode:
            failed.append(module.name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
