#!/bin/sh
# The library prints nothing, never ends the process, and takes memory only through base.
set -eu
cd "$(dirname "$0")/.."
bad=0
library=$(find src -name '*.[ch]' -o -name '*.inc' | grep -v '^src/cli/' | sort)
search() { # what, regular expression, files
    what=$1 pattern="(^|[^A-Za-z0-9_.>])($2) *\\("
    shift 2
    # shellcheck disable=SC2086 # a list of files without spaces
    if grep -nE "$pattern" $* | grep -vE ':[0-9]+: *(/?\*|//)'; then
        echo "above: $what"
        bad=1
    fi
}
search 'the library must not end the process' \
    'exit|_exit|_Exit|quick_exit|abort|raise' "$library"
search 'the library must not print' \
    'printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror' "$library"
search 'memory outside src/base comes from ke__alloc()' \
    'malloc|calloc|realloc|free|strdup|strndup|asprintf|aligned_alloc|posix_memalign' \
    "$(echo "$library" | grep -v '^src/base/')"
exit $bad
