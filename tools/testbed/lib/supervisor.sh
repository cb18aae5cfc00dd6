# shellcheck shell=bash
# The supervisor of a host: a process that starts the host again after each reboot, and that is killed to end it.

readonly REBOOT=133 # the exit status of nspawn, and of process 1 of a light host, that asks for a restart

# The supervisor outlives this command and inherits none of its files, so that x=$(testbed up 3) returns.
start_host() { # NAME
    local h=$STATE/hosts/$1 token
    token=$(cat /proc/sys/kernel/random/uuid)
    rm -f "$h/did-not-return" "$h/supervisor"
    setsid "${NAMESPACES[@]}" "$TESTBED" --state "$STATE" __supervise "$1" "$token" </dev/null >>"$h/log" 2>&1 9>&- &
    record_pid "$h/supervisor" $! "$token"
    disown
}

# Starts the host again after each reboot; ends when the host was switched off or has the fault no-return.
# It is process 1 of its own pid and mount namespaces: when it ends, the kernel ends all that it started (a container
# outlives its nspawn), and no mount is visible outside.
supervise() { # NAME TOKEN
    local h=$STATE/hosts/$1 status
    wait_until 10 is_known "$h" "$2" # without the record, nothing could ever end this process
    ! is_booted || own_cgroup "$1"
    while is_known "$h" "$2"; do
        status=0
        set +e
        "run_$(fact kind)" "$1"
        status=$?
        set -e
        record_event "$h" down
        [ "$status" = "$REBOOT" ] || { echo "$1 ended with $status"; break; }
        ! has "$1" no-return || { echo "$1 does not return"; : >"$h/did-not-return"; break; }
        is_booted || sleep 1 # no real reboot is faster than that
    done
}

# Whether this process is the recorded supervisor.
is_known() { grep -q " $2\$" "$1/supervisor" 2>/dev/null; } # HOST-DIR TOKEN

# Appends to the reboot log, unless that is its last entry.
record_event() { # HOST-DIR up|down
    case $(tail -n 1 "$1/events") in *" $2") return ;; esac
    echo "$(now_ms) $2" >>"$1/events"
}

runs() { live_pid "$STATE/hosts/$1/supervisor" >/dev/null; } # NAME

# Process 1 of the host, as a pid of this machine: a great-grandchild of the supervisor, in a pid namespace of its own.
leader() { # NAME
    local supervisor child runner pid
    supervisor=$(live_pid "$STATE/hosts/$1/supervisor") || return 1
    for child in $(children "$supervisor"); do
        for runner in $(children "$child"); do
            for pid in $(children "$runner"); do
                [[ $(grep '^NSpid:' "/proc/$pid/status" 2>/dev/null) =~ ^NSpid:[[:space:]][0-9]+[[:space:]][0-9]+[[:space:]]1$ ]] || continue
                echo "$pid"
                return
            done
        done
    done
    return 1
}

children() { cat "/proc/$1/task/$1/children" 2>/dev/null || true; } # PID

# Kills all supervisors at once, then waits: the kernel needs a second or two to remove a container.
stop_hosts() {
    local name pid pids=''
    for name in $(host_names); do pids="$pids $(kill_host "$name")"; done
    for pid in $pids; do wait_until 20 has_ended "$pid" || say "process $pid does not end"; done
    for name in $(host_names); do
        ! have ip || ! is_root || ip link del "vb-$name" 2>/dev/null || true
        remove_cgroups "$STATE/hosts/$name"
    done
}

# Kills the supervisor, and with it all processes in its namespace; stopped first, so that it starts nothing else.
# Prints the killed pids.
kill_host() { # NAME
    local pid children
    pid=$(live_pid "$STATE/hosts/$1/supervisor") || return 0
    kill -STOP "$pid" 2>/dev/null || return 0
    children=$(children "$pid")
    # shellcheck disable=SC2086 # split on purpose
    kill -KILL $children "$pid" 2>/dev/null || true
    echo "$pid $children"
}

has_ended() { ! start_time "$1" >/dev/null; } # PID
