"""The benchmarks' job as a Flower app that uses nothing but Flower to federate it."""
