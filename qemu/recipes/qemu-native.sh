#!/bin/bash
# Native QEMU, static: it runs in any root file system.
# /src/tree (patched source) -> /out/qemu-system-x86_64
set -euo pipefail
. /src/recipe/ccache.sh gcc
. /src/recipe/qemu-options.sh

/src/tree/configure --cc="$CCACHE gcc" --with-coroutine=ucontext "${QEMU_OPTIONS[@]}"
ninja -j"$(nproc)" qemu-system-x86_64
strip -o /out/qemu-system-x86_64 qemu-system-x86_64
