"""What is measured on a GPU: benchmarks beside rivals, experiments, and the summary of ``bench/on_gpu.sh``."""
