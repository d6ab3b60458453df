"""The line protocol of every peer: one JSON object a line on stdin and stdout, so that a bench can interleave peers.

Once ready:       {"ready": name, "versions": {...}, "settings": {...}, "importMemoryBytes": n, "startMemoryBytes": n}
For {"run": n}:   {"name", "run": n, "seconds", "peakMemoryBytes", ...what the peer adds}
The process ends at the end of stdin. `run` n seeds the inputs; the caller discards its first runs as warm-up.
`importMemoryBytes` is the resident size with the libraries imported, `startMemoryBytes` with the weights loaded too; `peakMemoryBytes` the greatest resident size of the
process so far (its own interpreter and libraries included).
"""

import argparse
import json
import resource
import sys
import time
from importlib.metadata import version


def peer_arguments(description, *options):
    """Parses the options every peer has, and `options` as (flag, keyword arguments) pairs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="tiny shapes, to see that the peer works")
    for flag, settings in options:
        parser.add_argument(flag, **settings)
    arguments = parser.parse_args()
    arguments.import_memory = resident_bytes()
    return arguments


def resident_bytes():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def serve(name, packages, settings, run):
    """Answers each {"run": n} with the seconds of `run(n)` and the dict it returns.

    `settings` are the parsed arguments and what the peer adds to them.
    """
    memory = {"importMemoryBytes": settings.pop("import_memory"), "startMemoryBytes": resident_bytes()}
    versions = {package: version(package) for package in packages}
    print(json.dumps({"ready": name, "versions": versions, "settings": settings} | memory), flush=True)
    for line in sys.stdin:
        index = json.loads(line)["run"]
        start = time.perf_counter()
        extra = run(index)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answer = {"name": name, "run": index, "seconds": seconds, "peakMemoryBytes": peak}
        print(json.dumps(answer | extra), flush=True)
