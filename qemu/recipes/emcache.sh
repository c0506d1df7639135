#!/bin/bash
# Emscripten's own system libraries for wasm64 with threads, which no release ships.
# -> /out/emcache, which the other wasm recipes see as /deps/emcache
set -euo pipefail
. /src/recipe/wasm-env.sh
export EM_CACHE=/build/emcache EM_FROZEN_CACHE=0

# Linking a program builds what a program needs: as configure checks link (unoptimised, with
# assertions), and as a result is linked.
printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' > program.c
printf '#include <iostream>\nint main() { std::cout << ""; }\n' > program.cc
for level in -O0 -O3; do
  for main in -sPROXY_TO_PTHREAD=0 -sPROXY_TO_PTHREAD=1; do
    emcc -pthread -sMEMORY64=2 -sASYNCIFY $level $main program.c -o program.js
    em++ -pthread -sMEMORY64=2 -sASYNCIFY $level $main program.cc -o program.js
  done
done
rm -rf emcache/build emcache/*.lock
mv emcache /out/
