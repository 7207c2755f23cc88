"""Where SkyPilot's own optimizer would run a machine, and the CPU it takes to say so.

`benchmarks/skypilot.py` runs this in an interpreter that has SkyPilot, whose HOME holds a
catalogue, as ``skypilot_optimizer.py VCPUS GIB``. The last line of its output is JSON. SkyPilot
0.14 draws on parts of itself that are not public here: which clouds are enabled, and what it
considers.
"""

import json
import socket
import sys
import time

REPEATS = 5


def refused(*_, **__):
    raise OSError("no network: everything SkyPilot needs is in its catalogue")


socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refused

try:
    import sky
    from sky import check, clouds, optimizer
except ImportError as exc:
    raise SystemExit(f"this Python has no SkyPilot: {exc}") from None


def enabled(*_, **__):
    """In place of what SkyPilot knows from asking the clouds for credentials."""
    return [clouds.AWS(), clouds.GCP(), clouds.Azure()]


def question(vcpus, gib, spot):
    with sky.Dag() as dag:
        need = sky.Resources(cpus=f"{vcpus}+", memory=f"{gib}+", use_spot=spot)
        sky.Task().set_resources(need)
    return dag


def answer(vcpus, gib, spot):
    """The least CPU of some runs after a first, which reads the catalogue."""
    found = []
    for _ in range(1 + REPEATS):
        dag = question(vcpus, gib, spot)
        start = time.process_time()
        optimizer.Optimizer.optimize(dag, sky.OptimizeTarget.COST, quiet=True)
        found.append(time.process_time() - start)
    (task,) = dag.tasks
    best = task.best_resources
    considered, *_ = optimizer._fill_in_launchable_resources(task, None, quiet=True)
    purchase = "spot" if best.use_spot else "on demand"
    return {
        "cpu_ms": min(found[1:]) * 1e3,
        "candidates": sum(len(places) for places in considered.values()),
        "pick": f"{str(best.cloud).lower()}:{best.region} {best.instance_type} {purchase}",
    }


def main():
    vcpus, gib = (float(word) for word in sys.argv[1:])
    check.get_cached_enabled_clouds_or_refresh = enabled
    answers = [answer(vcpus, gib, spot) for spot in (False, True)]
    print(json.dumps({"version": sky.__version__, "answers": answers}))


if __name__ == "__main__":
    main()
