#!/bin/sh
# Every public header compiles alone as C11 and as C++11, every internal one as C11.
set -u
cd "$(dirname "$0")/.."
bad=0
isa=
[ "$(uname -m)" = x86_64 ] && isa='-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl'
for h in include/knowedit/*.h; do
    ${CC:-cc} -std=c11 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c "$h" || bad=1
    ${CXX:-c++} -std=c++11 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c++ "$h" ||
        bad=1
done
# shellcheck disable=SC2086 # flags, meant to be split
for h in $(find src tests/support -name '*.h' | sort); do
    ${CC:-cc} -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Wno-unused-function \
        $isa -Iinclude -Isrc -Itests -fsyntax-only -x c "$h" || bad=1
done
exit $bad
