# Makes the stand-in as qemu-wasm.sh makes QEMU, and a state for it to resume.
set -euo pipefail
python3 /src/recipe/unpack.py /src/xterm-pty.tgz xterm-pty
export EM_CACHE=/deps/emcache EM_FROZEN_CACHE=1
emcc -O3 -pthread -sMEMORY64=2 -sPROXY_TO_PTHREAD -sFORCE_FILESYSTEM -sEXIT_RUNTIME -sEXPORT_ES6 \
  -sENVIRONMENT=web,worker --js-library xterm-pty/emscripten-pty.js \
  --js-library /src/recipe/poll-library.js /src/fake_guest.c -o /out/qemu-system-x86_64.js
printf state > /out/vm.state
