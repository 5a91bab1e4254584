#!/usr/bin/env bash
# Proves the CUDA path on a machine with an NVIDIA GPU, in at most 8 minutes, from the source tree, without network.
#
#     bash bench/on_gpu.sh [FOLDER]
#
# Needs Python 3.11 or later with CuPy, NumPy, SciPy and pytest; PYTHON names it. Runs the `gpu` tests with REQUIRE_GPU=1,
# compute-sanitizer over a few of them where it is there, the benchmarks, the kernels under ncu where that is there, and
# the experiments. FOLDER (by default bench/results/gpu-HOST-DATE) then holds summary.txt and .json, a log of each
# part, and the figures as JSON. A part that fails or takes too long leaves the others alone; the exit status is 1 if
# any did.
#
# ON_GPU_SECONDS bounds all parts together; ON_GPU_TINY=1 rehearses it with sizes that measure nothing.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-python3}
folder=${1:-bench/results/gpu-$(hostname -s)-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$folder" || exit 2
folder=$(cd "$folder" && pwd)
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} REQUIRE_GPU=1
export GPU_STACKCORR_CACHE_DIR=$folder/code  # empty: the first use of a kernel is measured as well
export BROKEN_DEVICE_LOG=$folder/broken_device.log PATH=$PATH:/usr/local/cuda/bin
tiny=()
tests=(tests)
declare -A checked=(
  [memcheck]="filters or elastic or battery or all_pairs or map_coordinates"
  [racecheck]="filters or battery or all_pairs"
)
if [[ ${ON_GPU_TINY:-} == 1 ]]; then
  tiny=(--tiny)
  tests=(tests/test_cuda_arrays.py -k filters)
  checked=([memcheck]=filters [racecheck]=filters)
fi
: >"$folder/parts.tsv"
failed=0
SECONDS=0
limit=${ON_GPU_SECONDS:-470} # of all parts; the summary takes the rest of 8 minutes

# part NAME SECONDS COMMAND...: run a command for so long at most, or for what is left
part() {
  local name=$1 most=$2 start=$SECONDS status
  shift 2
  if ((most > limit - SECONDS)); then most=$((limit - SECONDS)); fi
  if ((most < 5)); then
    printf '%s\t124\t0\n' "$name" >>"$folder/parts.tsv"
    failed=1
    return
  fi
  printf '%s (at most %d s)\n' "$name" "$most"
  timeout --signal=INT --kill-after=5 "$most" "$@" >"$folder/$name.log" 2>&1
  status=$?
  # Interrupted by the limit, Python ends as it likes.
  if ((status != 0 && SECONDS - start >= most)); then status=124; fi
  printf '%s\t%d\t%d\n' "$name" "$status" "$((SECONDS - start))" >>"$folder/parts.tsv"
  if ((status != 0)); then failed=1; fi
}

{
  date -u +%Y-%m-%dT%H:%M:%SZ
  git log -1 --format='commit %h %s' 2>/dev/null
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory --format=csv 2>/dev/null
  "$python" --version
} >"$folder/environment.txt" 2>&1

part probe 30 "$python" -c '
from gpu_stackcorr import available_backends
for info in available_backends().values():
    print(info)
raise SystemExit(not available_backends()["cuda"].available)'
part tests 170 "$python" bench/gpu/run_tests.py "${tests[@]}"
for tool in memcheck racecheck; do
  if command -v compute-sanitizer >/dev/null; then
    # Without CuPy's pool an array ends where its memory ends.
    CUDA_NO_POOL=1 part "$tool" 100 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$python" -m pytest -q -m gpu -p no:cacheprovider tests/test_cuda_arrays.py -k "${checked[$tool]}"
  else
    printf '%s\t-\t0\n' "$tool" >>"$folder/parts.tsv"
  fi
done
rm -rf "$folder/code" # of the benchmarks the first use is measured
part benchmarks 130 "$python" -m bench.gpu.benchmarks "$folder" "${tiny[@]}"
if command -v ncu >/dev/null; then
  sections=(SpeedOfLight ComputeWorkloadAnalysis WarpStateStats Occupancy)
  part profile 60 ncu --clock-control none --profile-from-start off "${sections[@]/#/--section=}" \
    -k 'regex:sum_|total_|add_|warp|noise|gaussian|random_field' "$python" -m bench.gpu.profile "${tiny[@]}"
else
  printf 'profile\t-\t0\n' >>"$folder/parts.tsv"
fi
part experiments 50 "$python" -m bench.gpu.experiments "$folder" "${tiny[@]}"
rm -rf "$folder/code"
"$python" bench/gpu/summary.py "$folder" || failed=1
exit "$failed"
