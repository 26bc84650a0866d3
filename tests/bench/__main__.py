"""`python -m tests.bench`: run the benches, print one table, write a JSON file."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import claims, first_tool, growth, makespan, overhead, start
from tests.bench.figures import Figure, Finding, report, table

_BENCHES: dict[str, Callable[..., Iterator[Finding]]] = {
    module.BENCH: module.bench for module in (makespan, overhead, growth, first_tool, start, claims)
}


def main() -> int:
    """Run what the command line names; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_BENCHES)}; all where none is given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions: some minutes")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - _BENCHES.keys())
    if unknown:
        parser.error(f"there is no bench {unknown[0]!r}; choose of {', '.join(_BENCHES)}")
    found: list[Finding] = []
    for name in options.names or _BENCHES:
        begun = time.perf_counter()
        for finding in _BENCHES[name](quick=options.quick):
            found.append(finding)
            print(f"{time.perf_counter() - begun:7.1f} s  {finding.bench}: {finding.case}", file=sys.stderr)
            if options.json:
                options.json.write_text(json.dumps(report(found), indent=2) + "\n", encoding="utf-8")
    print(table(found))
    return int(any(isinstance(one, Figure) and one.met is False for one in found))


if __name__ == "__main__":
    sys.exit(main())
