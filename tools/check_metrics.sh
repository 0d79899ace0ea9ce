#!/bin/sh
# Functions of at most 80 lines, files of at most 800, headers of at most 400.
# A function is what stands between "{" and "}" in the first column (.clang-format sees to it).
set -eu
cd "$(dirname "$0")/.."
find src include examples tests -name '*.[ch]' -o -name '*.inc' | sort | xargs awk '
    function ends() {
        if (name == "") return
        limit = name ~ /\.h$/ ? 400 : 800
        if (lines > limit) { print name ": " lines " lines, at most " limit; bad = 1 }
    }
    FNR == 1 { ends(); name = FILENAME; open = 0 }
    { lines = FNR }
    /^{/ { open = FNR }
    /^}/ && open {
        size = FNR - open - 1; open = 0; n++; sum += size
        if (size > 60) long_ones++
        if (size > 80) { print name ":" FNR ": function of " size " lines, at most 80"; bad = 1 }
    }
    END {
        ends()
        printf "%d functions, mean %.0f lines, %.1f %% over 60\n", n, sum / n, 100 * long_ones / n
        exit bad
    }'
