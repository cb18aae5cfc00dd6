# Compares the generation of the installation that wants to change this host with the mark on it, and marks it.
#
#   claim_host DIR INSTANCE GENERATION ID MODE SIGNATURE
#
# The mark is the file `generation-INSTANCE` of DIR (if that is empty: of the directory of the units), with a line
# `GENERATION ID SIGNATURE` for each installation that claims the host in the same generation, which is one unless two were
# restored from the same backup. Its time of modification is when it was last confirmed.
#
# MODE is `take`, `keep` (the host has to have the mark of this installation already) or `register:SECONDS` (the host was
# registered so long ago: a mark that was last confirmed before that is replaced; else it is `take`). It returns 0 once the
# host has the mark, and holds a lock (7) until `release_claim`, so that the mark stays as it is until the change has begun.
# Else it prints `fenced WHY` and the mark, and returns 77: `newer` (a later generation has the host), `contested` (another
# installation of the same generation claims it; from now on the mark says so), `not-taken-over` (of MODE `keep`), `damaged`
# (the mark cannot be read). It returns 1 when it cannot be done, and prints why to standard error.
#
# crates/host-access/src/generation.rs has the same rules, and a test that compares them.
claim_host() {
    [ -n "${6-}" ] || { echo 'no generation was named, so nothing was done' >&2; return 1; }
    claim_units=$1
    if [ -z "$claim_units" ]; then
        # On a test host whose user is not root it is below the user's home directory.
        if [ "$(id -u)" = 0 ]; then claim_units=/var/lib/commissaire/units; else claim_units=$HOME/commissaire/units; fi
    fi
    claim_mark=$claim_units/generation-$2 claim_generation=$3 claim_id=$4 claim_mode=$5 claim_line="$3 $4 $6"
    (umask 077 && mkdir -p "$claim_units" && : >>"$claim_units/.generation") || {
        echo "the directory $claim_units cannot be written to, so the host cannot be marked, and nothing was done" >&2
        return 1
    }
    exec 7>>"$claim_units/.generation"
    lock_marks || return
    read_mark || return
    if [ "$claim_highest" -lt "$claim_generation" ]; then
        [ "$claim_mode" != keep ] || { fenced not-taken-over; return; }
        write_mark "$claim_line"
    elif [ "$claim_highest" -gt "$claim_generation" ]; then
        fenced newer
    elif [ -n "$claim_others" ]; then
        if [ -z "$claim_is_own" ] && [ "$claim_mode" != keep ]; then
            write_mark "$claim_others$claim_line" || return
        fi
        fenced contested
    else
        write_mark "$claim_line"
    fi
}

release_claim() { exec 7>&-; }

# The lock of all marks; without flock, renaming is all there is.
lock_marks() {
    command -v flock >/dev/null 2>&1 || return 0
    claim_looks=0
    until flock -n 7; do
        claim_looks=$((claim_looks + 1))
        [ "$claim_looks" -le 50 ] || { echo "$claim_units/.generation is locked, so nothing was done" >&2; return 1; }
        sleep 0.1
    done
}

# The highest generation in the mark, the lines of others with it, and whether this installation has one.
read_mark() {
    claim_highest=0 claim_others='' claim_is_own=''
    [ -e "$claim_mark" ] || return 0
    ! is_older || return 0
    if [ ! -s "$claim_mark" ] || [ "$(wc -c <"$claim_mark")" -gt 16384 ] || [ -n "$(tail -c 1 "$claim_mark")" ] ||
        LC_ALL=C grep -qvE '^[0-9]{1,18} [A-Za-z0-9_-]{1,64} [A-Za-z0-9+/=]+$' "$claim_mark"; then
        fenced damaged
        return
    fi
    while read -r mark_generation mark_id mark_signature; do
        if [ "$mark_generation" -gt "$claim_highest" ]; then
            claim_highest=$mark_generation claim_others='' claim_is_own=''
        fi
        [ "$mark_generation" -eq "$claim_highest" ] || continue
        if [ "$mark_id" = "$claim_id" ]; then
            claim_is_own=yes
        else
            claim_others="$claim_others$mark_generation $mark_id $mark_signature
"
        fi
    done <"$claim_mark"
}

# Whether the mark was last confirmed before the host was registered. A mark from the future was: a clock was wrong then.
is_older() {
    case $claim_mode in
        register:*) ;;
        *) return 1 ;;
    esac
    confirmed=$(stat -c %Y "$claim_mark") || return 1
    confirmed=$(($(date +%s) - confirmed))
    [ "$confirmed" -lt 0 ] || [ "$confirmed" -ge "${claim_mode#register:}" ]
}

# It is on the disk before anything is changed: after a power failure it must be known which generation has this host.
write_mark() {
    # With a letter after it, since $() removes newlines.
    if [ -e "$claim_mark" ] && [ "$(cat "$claim_mark" && echo x)" = "$1
x" ]; then
        touch "$claim_mark" 2>/dev/null || true # on a full disk the mark is good all the same
        return 0
    fi
    (umask 077 && printf '%s\n' "$1" >"$claim_mark.new" && sync_mark "$claim_mark.new" &&
        mv -f "$claim_mark.new" "$claim_mark" && sync_mark "$claim_units") || {
        rm -f "$claim_mark.new"
        echo "the mark $claim_mark cannot be written, so nothing was done" >&2
        return 1
    }
}

# Not every `sync` takes a file.
sync_mark() { sync "$1" 2>/dev/null || sync; }

fenced() {
    release_claim
    echo "fenced $1"
    head -c 16384 "$claim_mark" 2>/dev/null || true
    return 77
}
