#!/bin/sh
# Every #include "..." under src/ must obey tools/layers.txt.
set -eu
cd "$(dirname "$0")/.."
find src -type f -name '*.[chS]' -o -type f -name '*.inc' -o -type f -name '*.def' | sort |
    xargs grep -Hn '^ *# *include *"' | awk -F: '
    BEGIN {
        while ((getline line < "tools/layers.txt") > 0) {
            if (line ~ /^#/ || line !~ /:/) continue
            split(line, half, ":"); layer = half[1]; known[layer] = 1
            n = split(half[2], names, " ")
            for (i = 1; i <= n; i++) may[layer, names[i]] = 1
        }
    }
    {
        split($1, dirs, "/"); from = dirs[2]
        path = $0; sub(/^[^"]*"/, "", path); sub(/".*/, "", path)
        to = path; sub(/\/.*/, "", to)
        if (to == path) why = "not a path from src/ or include/"
        else if (!(from in known)) why = "layer " from " is not in tools/layers.txt"
        else if (to == "knowedit" || to == from || (from, to) in may) next
        else why = from " may not include " to
        print $1 ":" $2 ": \"" path "\": " why; bad = 1
    }
    END { exit bad }'
