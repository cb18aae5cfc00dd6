#!/bin/sh
# Upgrades packages, and reports what is installed and what has changed: tasks/upgrade_packages.yaml adds the line that
# calls one of these functions.

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

# The age of the newest package list in seconds, `-` if there is none. Then how many packages were installed, upgraded
# and removed since `list` wrote the file `before`; then `NAME BEFORE AFTER` a line, `-` for none: all of them in the
# file `changes`, and the first 200 printed.
changes() { # dpkg|rpm
    # shellcheck disable=SC2046 # separate words
    lists_age $(package_lists "$1")
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

# Runs the lines of shell REFRESH, which fetches the package lists, and UPGRADE, with the exit status of the one that
# failed. While another process holds a package lock, the file `waiting` names it: unit.sh passes that on.
upgrade() { # REFRESH UPGRADE
    # It must not keep the unit's lock when the unit ends.
    watch_locks $$ 8>&- &
    watcher=$!
    status=0
    run_again_when_locked refresh_lists "$1" && run_again_when_locked sh -c "$2" || status=$?
    kill "$watcher" 2>/dev/null || true
    rm -f waiting
    return "$status"
}

# Package lists count as fetched when every enabled repository has answered. apt before 2.1 exits with 0 when one has
# not, and only prints it.
refresh_lists() { # REFRESH
    : >stdout
    sh -c "$1" || return
    if grep -qE '^(W|E): (Failed to fetch|Some index files failed)|^Err:?[0-9]* ' stdout stderr; then
        echo "the package lists were not fetched: nothing was upgraded" >&2
        return 100
    fi
}

# dnf and yum wait for a lock by themselves; apt-get does for some, zypper for none. zypper exits with 103 when it has
# updated itself and is to be run again.
run_again_when_locked() { # COMMAND…
    locked=0 updated_itself=0
    while :; do
        : >stderr
        status=0
        "$@" || status=$?
        if [ "$status" = 103 ]; then
            updated_itself=$((updated_itself + 1))
            [ "$updated_itself" -lt 6 ] || return 103
        elif [ "$status" = 0 ] || ! grep -qE 'Could not get lock|System management is locked' stderr; then
            return "$status"
        else
            locked=$((locked + 1))
            [ "$locked" -lt 120 ] || return "$status" # 10 minutes
        fi
        sleep 5
    done
}

# Keeps the file `waiting` as long as MAIN lives. A lock that is gone at the next look has delayed nothing.
watch_locks() { # MAIN
    seen=''
    while kill -0 "$1" 2>/dev/null; do
        # shellcheck disable=SC2086 # separate words
        holder=$(lock_holder "$1" $LOCKS) || true
        if [ -z "$holder" ]; then
            [ -z "$seen" ] || rm -f waiting
        elif [ "$holder" = "$seen" ]; then
            printf '%s\n' "$holder" >waiting.new && mv waiting.new waiting
        fi
        seen=$holder
        sleep 2
    done
}

# The locks of dpkg and apt, of rpm and dnf 5 (locked with fcntl), of dnf, yum and zypper (which hold a process id).
LOCKS="/var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock
    /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock /run/dnf/rpmtransaction.lock
    /var/cache/dnf/metadata_lock.pid /var/cache/dnf/download_lock.pid /var/lib/dnf/rpmdb_lock.pid
    /run/yum.pid /run/zypp.pid"

# The process that holds one of these lock files and does not descend from MAIN, as a sentence; nothing without one.
lock_holder() { # MAIN FILE…
    main=$1
    shift
    for file in "$@"; do
        [ -e "$file" ] || continue
        case $file in
            *.pid) pids=$(head -c 20 "$file" 2>/dev/null) ;;
            *)
                pids=$(awk -v inode="$(stat -L -c %i "$file")" '
                    $2 != "->" && $4 == "WRITE" && $5 > 0 { split($6, at, ":"); if (at[3] == inode) print $5 }' /proc/locks) ;;
        esac
        for pid in $pids; do
            name=$(cat "/proc/$pid/comm" 2>/dev/null) || continue
            ! descends_from "$main" "$pid" || continue
            echo "waiting for the package lock $file, held by $name (pid $pid)"
            return
        done
    done
}

descends_from() { # MAIN PID
    process=$2
    while [ "${process:-0}" -gt 1 ]; do
        [ "$process" != "$1" ] || return 0
        process=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$process/status" 2>/dev/null)
    done
    return 1
}

# The files whose time is that of a package list: of apt what the server says, of the others when it was last fetched
# or found unchanged.
package_lists() { # dpkg|rpm
    case $1 in
        dpkg) find -L /var/lib/apt/lists -maxdepth 1 -type f -name '*_*' 2>/dev/null || true ;;
        rpm) find /var/cache/dnf /var/cache/libdnf5 /var/cache/yum /var/cache/zypp/raw -name repomd.xml 2>/dev/null || true ;;
    esac
}

# Of the newest of these files, in seconds; `-` without one.
lists_age() { # FILE…
    newest=$(stat -L -c %Y "$@" 2>/dev/null | sort -n | tail -n 1) || true
    now=$(date +%s)
    if [ -z "$newest" ]; then echo -; elif [ "$newest" -gt "$now" ]; then echo 0; else echo $((now - newest)); fi
}

set -e
