# Sourced by recipes that compile: CCACHE is the compiler's prefix, empty without a /ccache.
#
# $1 names the compiler. The key holds all that it says of its version, the distribution's build
# included: a driver's own content does not change with the libraries that do its work.
CCACHE=
if [ -d /ccache ]; then
  CCACHE=ccache
  CCACHE_COMPILERCHECK="string:$("$1" -v 2>&1 | tr '\n' ' ')"
  # The preprocessor is left out of it: Emscripten's start-up costs more than most compilations.
  export CCACHE_COMPILERCHECK CCACHE_DIR=/ccache CCACHE_DEPEND=1
fi
