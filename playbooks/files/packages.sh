#!/bin/sh
# What is installed, and what has changed since: tasks/upgrade_packages.yaml adds the line that calls one of these.

# `NAME VERSION` a line, sorted, of dpkg or of rpm; nothing where the one that is asked for is not there.
list() { # dpkg|rpm
    case $1 in
        dpkg)
            listed=$(dpkg-query --show --showformat '${binary:Package} ${Version} ${db:Status-Status}\n') || exit
            printf '%s\n' "$listed" | sed -n 's/ installed$//p' | sort ;;
        rpm)
            command -v rpm >/dev/null || return 0
            listed=$(rpm --query --all --queryformat '%{NAME}.%{ARCH} %{EVR}\n') || exit
            printf '%s\n' "$listed" | sort ;;
    esac
}

# How many were installed, upgraded and removed since `list` wrote the file `before`; then `NAME BEFORE AFTER` a line,
# `-` for none: all of them in the file `changes`, and the first fifty printed.
changes() { # dpkg|rpm
    list "$1" >after
    comm -3 before after | awk '
        /^\t/ { now[$1] = $2; next }
        { was[$1] = $2 }
        END {
            for (name in was) print name, was[name], name in now ? now[name] : "-"
            for (name in now) if (!(name in was)) print name, "-", now[name]
        }' | sort >changes
    awk '
        $2 == "-" { installed++; next }
        $3 == "-" { removed++; next }
        { upgraded++ }
        END { print installed + 0, upgraded + 0, removed + 0 }' changes
    head -n 200 changes
}

set -e
