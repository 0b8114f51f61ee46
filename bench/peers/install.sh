#!/bin/bash
# The engines that ./run bench engine --peers VENV compares with, from PyPI, into a Python venv of
# their own. Needs python3.11 (its wheels), a compiler, about 8 GB and half an hour; nothing of it is
# ever needed to build or test.
#   bench/peers/install.sh VENV [PYTHON]
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: bench/peers/install.sh VENV [PYTHON]" >&2; exit 64; }
venv=$1 python=${2:-python3.11}
command -v "$python" >/dev/null || { echo "bench/peers/install.sh: no $python: name one" >&2; exit 69; }
"$python" -m venv "$venv"
# shellcheck disable=SC1091 # made above
. "$venv/bin/activate"

# torch first, by itself: the others would bring another build of it.
pip install torch==2.13.0
pip install torch==2.13.0 optimum-intel==2.2.0 openvino-genai==2026.4.1.0 openvino==2026.4.1 \
    openvino-tokenizers==2026.4.1.0 nncf==3.4.0 accelerate av
pip install transformers==4.57.6 gguf # newer transformers are refused by optimum-intel
# It arrives built for CUDA, and then transformers cannot be imported beside a torch for the CPU.
pip uninstall -y torchvision

# gcc 12 declares too few bytes of _tile_loadconfig's input: stores to it are dropped, and llama.cpp's
# AMX path faults. The macro reads all 64.
pip install cmake ninja scikit-build-core
fix=$venv/tile_loadconfig.h
cat >"$fix" <<'END'
#include <immintrin.h>
#undef _tile_loadconfig
#define _tile_loadconfig(config) \
    __asm__ volatile("ldtilecfg\t%0" ::"m"(*(const char(*)[64])(config)))
END
CMAKE_ARGS="-DGGML_NATIVE=ON -DCMAKE_C_FLAGS='-include $fix' -DCMAKE_CXX_FLAGS='-include $fix'" \
    CMAKE_BUILD_PARALLEL_LEVEL=2 pip install llama-cpp-python==0.3.36 --no-binary llama-cpp-python
echo "installed: ./run bench engine --peers $venv"
