# Sourced by recipes that compile: CCACHE is the compiler's prefix, empty without a /ccache.
#
# $1 names the compiler. The key holds its version, which carries the distribution's build, because
# a driver's own content does not change with the libraries that do its work.
CCACHE=
if [ -d /ccache ]; then
  CCACHE=ccache
  export CCACHE_DIR=/ccache CCACHE_COMPILERCHECK="string:$("$1" --version | tr '\n' ' ')"
  # The preprocessor is left out of it: Emscripten's start-up costs more than most compilations.
  export CCACHE_DEPEND=1
fi
