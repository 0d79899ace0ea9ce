#!/bin/sh
# The shared library exports ke_<noun>_<verb> and nothing else; no object defines a global
# symbol without our prefix.
set -u
cd "$(dirname "$0")/.."
build=${BUILD:-build}
bad=0
for f in libknowedit.so libknowedit.a; do
    [ -f "$build/$f" ] || { echo "$build/$f is not built"; exit 1; }
done
if nm -D --defined-only "$build/libknowedit.so" | awk '{ print $3 }' | grep -vE '^ke_[a-z]'; then
    echo 'above: exported by libknowedit.so, but not ke_<noun>_<verb>'
    bad=1
fi
if nm -g --defined-only "$build/libknowedit.a" | awk 'NF == 3 { print $3 }' |
    grep -vE '^(ke_|__odr_asan|__asan_|__tsan_|DW\.ref)'; then
    echo 'above: global in libknowedit.a without the prefix ke_'
    bad=1
fi
exit $bad
