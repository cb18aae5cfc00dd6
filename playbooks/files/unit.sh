#!/bin/sh
# Runs a command on this host once, however often and by whomever that is asked for: apart from the connection it is
# asked for over, as a transient systemd unit, or, where no systemd runs, as a process in a session of its own.
#
#   sh -s -- UNITS NAME COMMAND RECOVER BEFORE AFTER [GO_AHEAD] <unit.sh
#
# UNITS is a directory, NAME the unit's name; the others are lines of shell, run in UNITS/NAME, and all but COMMAND may
# be empty. BEFORE is run once, before COMMAND, and what it prints is kept in `before`; AFTER is run after COMMAND, and
# what it prints is the report. Whoever comes while it runs waits for it; whoever comes later gets the same answer.
#
# With GO_AHEAD, the name of one, nothing is started before it is given: claim.sh and go_ahead.sh, whose texts come before
# this one then. The generation marks of claim.sh are in UNITS.
#
# Where a reboot of the host has cut it off, RECOVER and then COMMAND are run again, but only once, and only where there
# is a RECOVER. What ended it in any other way (somebody stopped it, no memory was left) is not gone against.
#
# Exit status: 0 it has ended (on standard output: COMMAND's exit status on a line of its own, then the report; on
# standard error, where that status is not 0: its last words); 75 it runs still, ask again (on standard output: what it
# waits for); 77 it was not started, since the go-ahead was not given (why: on standard output); 1 it can't be run, and why.
#
# What is in UNITS/NAME: `runs` (boot id and time of each beginning), `running` (locked while it runs), `stdout`,
# `stderr`, `before`, `report`, `waiting` (while COMMAND waits for something it has written there), and at the end
# `result`. What is older than a day is removed by the next one.
set -eu
umask 077

readonly PATIENCE=30 # seconds that are waited for the end before 75 is answered
readonly SOON=10     # the same while there is something that it waits for

main() {
    units=$1 name=$2 command=$3 recover=$4 before=$5 after=$6 go_ahead=${7-}
    dir=$units/$name
    start
    await
    answer
}

fail() { echo "$*" >&2; exit 1; }

boot_id() { cat /proc/sys/kernel/random/boot_id; }

# The lock is held by what runs, so it ends with that, however that ends.
running() { [ -e "$1/running" ] && ! flock --shared --nonblock "$1/running" true; }

# One at a time: it is decided whether to start it, it is started, and seen to run, before anybody else decides.
start() {
    mkdir -p "$units" || fail "the directory $units could not be made; nothing was run"
    require_space
    exec 9>"$units/.lock"
    flock --timeout 90 9 || fail "$name is being started by somebody else, who does not come to an end: see who holds $units/.lock"
    if [ ! -e "$dir/result" ] && ! running "$dir"; then
        tidy
        require_space
        mkdir -p "$dir"
        touch "$dir/runs"
        begun=$(wc -l <"$dir/runs")
        [ "$begun" -eq 0 ] || may_run_again
        [ -z "$go_ahead" ] || await_go_ahead "$go_ahead" "$units" || exit
        write
        launch
        wait_for_beginning
        [ -z "$go_ahead" ] || release_claim
    fi
    exec 9>&-
}

# A package manager that runs out of disk in the middle leaves more to repair than one that has not begun.
require_space() {
    said=$(space) || fail "$units cannot be written to: $(printf '%s\n' "$said" | sed -n '1s/.*: //p')$(what_is_full). Nothing was run"
}

# Whether there is room for what is written down about a unit; prints why not.
space() {
    status=0
    LC_ALL=C dd if=/dev/zero of="$units/.space" bs=1024 count=1024 2>&1 || status=1
    rm -f "$units/.space"
    return "$status"
}

# What to do about what `space` has said.
what_is_full() {
    case $said in
        *'No space left'* | *quota*)
            echo "; see \`df -h $units\` and \`df -i $units\` on the host, and free some space (package caches, the journal)" ;;
    esac
}

# Removes what is left of others; those that run, and those that somebody may still ask about, stay.
tidy() {
    find "$units" -mindepth 1 -maxdepth 1 -type d -mmin +1440 | while read -r other; do
        [ "$other" = "$dir" ] || running "$other" || rm -rf "$other"
    done
}

may_run_again() {
    last=$(tail -n 1 "$dir/runs")
    [ "${last%% *}" != "$(boot_id)" ] ||
        fail "it was ended before it was done: somebody stopped it, or memory or disk ran out; see \`journalctl --unit $name\` and $dir on the host"
    [ -n "$recover" ] ||
        fail "the host was rebooted in the middle of it, and it is not safe to just go on: see in $dir on the host how far it came"
    [ "$begun" -lt 2 ] ||
        fail "the host was rebooted in the middle of it twice: see in $dir on the host how far it came"
}

write() {
    printf '%s\n' "$command" >"$dir/command.sh"
    printf '%s\n' "$recover" >"$dir/recover.sh"
    printf '%s\n' "$before" >"$dir/before.sh"
    printf '%s\n' "$after" >"$dir/after.sh"
    cat >"$dir/run.sh" <<'RUN'
# Written by Commissaire, whose playbooks/files/unit.sh says what this is.
cd "$(dirname "$0")" || exit
umask 022
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C
export PATH LC_ALL
exec 8>>running
flock 8 || exit
# Told to stop (only this process is), it waits for the end of what it runs, and writes it down.
trap : TERM

# Written down for good before anything is changed: after a power failure it must be known what was begun.
steps() {
    [ -e before ] || { sh ./before.sh >before.new && mv before.new before; } || return
    sync before runs . || return
    [ "$(wc -l <runs)" -eq 1 ] || sh ./recover.sh || return
    sh ./command.sh
}

# Room for the status, which is then written over it: what it runs may fill the disk.
echo 255 >result.new && echo "$(cat /proc/sys/kernel/random/boot_id) $(date +%s)" >>runs || exit
echo "begun, with its output in $PWD"
steps </dev/null >>stdout 2>>stderr
status=$?
sh ./after.sh </dev/null >report.new 2>>stderr && mv report.new report || { [ "$status" -ne 0 ] || status=125; }
printf '%3d\n' "$status" 1<>result.new
sync result.new
mv result.new result
echo "ended with status $status"
RUN
}

launch() {
    if [ -d /run/systemd/system ]; then
        systemctl reset-failed "$name.service" >/dev/null 2>&1 || true # there may be none
        # A shutdown waits for it, as for Debian's own upgrades; an old systemd does not take these by command line.
        transient --property=KillMode=process --property=TimeoutStopSec=900 >/dev/null || said=$(transient) ||
            fail "systemd does not start the unit $name: $said"
    else
        # The end of the connection must not take it along, not even before setsid has run.
        (trap '' HUP && exec setsid sh "$dir/run.sh" </dev/null >/dev/null 2>&1 7>&- 9>&-) &
    fi
}

transient() { systemd-run --unit="$name" --description="$name" "$@" /bin/sh "$dir/run.sh" </dev/null 2>&1 7>&- 9>&-; }

wait_for_beginning() {
    looks=0
    until [ "$(wc -l <"$dir/runs")" -gt "$begun" ]; do
        [ "$looks" -lt 150 ] || fail "it was started, but does not begin: see \`journalctl --unit $name\` on the host"
        looks=$((looks + 1))
        sleep 0.1
    done
}

await() {
    looks=0
    until [ -e "$dir/result" ]; do
        # Gone without a result: what that means is decided when it is asked for again.
        running "$dir" || [ -e "$dir/result" ] || exit 75
        if [ -e "$dir/waiting" ] && [ "$looks" -ge $((SOON * 5)) ]; then
            head -c 400 "$dir/waiting" 2>/dev/null || true # it may be over at this moment
            exit 75
        fi
        [ "$looks" -lt $((PATIENCE * 5)) ] || exit 75
        looks=$((looks + 1))
        sleep 0.2
    done
}

answer() {
    status=$(tr -d ' ' <"$dir/result")
    echo "$status"
    [ ! -e "$dir/report" ] || head -c 65536 "$dir/report"
    [ "$status" = 0 ] || last_words >&2
    [ "$status" = 0 ] || said=$(space) || echo "the file system of $units has no room$(what_is_full)" >&2
}

# What a program has to say about its failure it says last, most on standard error, some on standard output.
last_words() {
    for stream in stderr stdout; do
        [ ! -s "$dir/$stream" ] || { tail -n 12 "$dir/$stream" | tail -c 1500; return; }
    done
    echo "it printed nothing"
}

main "$@"
