# shellcheck shell=bash
# `up` and `down`: creating the testbed and its hosts, and removing all of it.

# ---------------------------------------------------------------- up

up() { # N [OPTION…]
    local count='' flavours=debian kind='' until='' flavour
    while [ $# -gt 0 ]; do
        case $1 in
            --flavours | --flavour) flavours=${2:?--flavours needs a list}; shift 2 ;;
            --light) kind=light; shift ;;
            --booted) kind=booted; shift ;;
            --until) until=${2:?--until needs a pid}; shift 2 ;;
            -*) usage "up: unknown option $1" ;;
            *) [ -z "$count" ] || usage "up: one number"; count=$1; shift ;;
        esac
    done
    if ! [[ $count =~ ^[1-9][0-9]*$ ]] || [ "$count" -gt 150 ]; then usage "up: how many hosts? 1 to 150"; fi
    [ -z "$until" ] || start_time "$until" >/dev/null || die "--until: no process $until"
    check_flavours "$flavours"
    claim_state
    trap 'undo_up' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    state_for_overlay
    choose_kind "$kind"
    if [ "$KIND" = light ]; then
        [ "$flavours" = debian ] || beyond "flavours other than debian need booted hosts"
        flavours=light
    else
        ensure_base
        for flavour in ${flavours//,/ }; do if has_own_base "$flavour"; then ensure_base "$flavour"; fi; done
    fi
    make_testbed
    make_hosts "$count" "$flavours"
    [ -z "$until" ] || start_keeper "$until"
    : >"$STATE/ready"
    addresses
}

# Creates all hosts, starts them, and waits for all of them at the same time.
make_hosts() { # COUNT FLAVOURS
    local number name wait waits='' failed=''
    for ((number = 1; number <= $1; number++)); do make_host "$number" "$(flavour_of "$number" "$2")"; done
    for name in $(host_names); do start_host "$name"; done
    for name in $(host_names); do await "$name" & waits="$waits $!"; done
    for wait in $waits; do wait "$wait" || failed=1; done
    [ -z "$failed" ] || die "not all hosts came up"
}

claim_state() {
    mkdir -p "$STATE" || die "can't make $STATE"
    chmod 711 "$STATE"
    exec 9>"$STATE/lock"
    flock -n 9 || die "another testbed command is at work in $STATE"
    [ ! -e "$STATE/facts" ] || die "a testbed is up (or half up) in $STATE: first testbed down"
    mkdir "$STATE/facts" "$STATE/hosts"
}

# Removes a testbed whose `up` has not succeeded, whatever the reason.
undo_up() {
    local code=$?
    trap '' INT TERM HUP
    [ -e "$STATE/ready" ] || { say "taking it down again"; take_down; }
    exit "$code"
}

# An overlay, as in a container, can't be a layer of another one: a tmpfs can.
state_for_overlay() {
    is_root || return 0
    case $(stat -f -c %T "$STATE") in
        overlayfs) mount -t tmpfs -o mode=711 tmpfs "$STATE" && : >"$STATE/mounted" ;;
    esac
}

# Sets KIND. For light hosts, prints the reason: the first line of the output.
choose_kind() { # ''|light|booted
    local why=''
    KIND=booted
    if [ "$1" = light ]; then why='asked for with --light'; else why=$(why_not_booted | paste -sd ';'); fi
    [ -n "$why" ] || return 0
    [ "$1" != booted ] || die "no hosts can be booted here: $why"
    KIND=light
    local worse
    worse=$(why_not_light | paste -sd ';')
    [ -z "$worse" ] || die "no hosts can be booted here: $why; and no light hosts either: $worse"
    echo "LIGHT HOSTS: $why; no systemd, no package manager in them"
}

# Creates the parts that the hosts share.
make_testbed() {
    umask 022
    echo "$KIND" >"$STATE/facts/kind"
    id -un >"$STATE/facts/user"
    echo no >"$STATE/facts/firewall"
    reserve_octet "$KIND"
    ssh-keygen -q -t ed25519 -N '' -C testbed -f "$STATE/key" </dev/null
    if [ "$KIND" = booted ]; then make_bridge; make_layer "$STATE/layer"; else make_light_layer; light_port >"$STATE/facts/port"; fi
    if is_root && have nft && make_firewall; then echo yes >"$STATE/facts/firewall"; fi
}

make_host() { # NUMBER FLAVOUR
    local name address port=22 h
    if is_booted; then
        name=t$(fact octet)-$((100 + $1)) address=192.168.$(fact octet).$((100 + $1))
    else
        name=l$(fact octet)-$((100 + $1)) address=$(light_address "$1") port=$(fact port)
    fi
    h=$STATE/hosts/$name
    mkdir -p "$h"
    echo "$address" >"$h/address"
    echo "$port" >"$h/port"
    echo "$2" >"$h/flavour"
    new_host_key "$name" "$h/hostkey"
    if is_booted; then make_booted_host "$name" "$2" "$address"; else make_light_host "$name" "$address" "$port"; fi
    set_known_host "$name"
}

# ---------------------------------------------------------------- down

# Waits for a concurrent command; the lock of one that was killed is free.
down() {
    [ -d "$STATE" ] || return 0
    exec 9>"$STATE/lock"
    flock -w 300 9 || die "another testbed command is at work in $STATE"
    take_down
}

take_down() {
    local pid
    if pid=$(live_pid "$STATE/keeper"); then kill -KILL "$pid" 2>/dev/null || true; fi
    stop_hosts
    remove_network
    free_slot
    if [ -e "$STATE/mounted" ]; then umount -l "$STATE"; fi
    rm -rf "${STATE:?}"/{facts,hosts,layer,bin,ready,keeper,key,key.pub,authorized_keys,known_hosts,known_hosts.lock,known_hosts.new,lock} "${STATE:?}"/try.*
    rmdir "$STATE" 2>/dev/null || true # other files in it are not ours
}

# Removes the testbed when a process ends, so that a killed test leaves nothing behind.
start_keeper() { # PID
    setsid "$TESTBED" --state "$STATE" __keep "$1" "$(start_time "$1")" </dev/null >/dev/null 2>&1 9>&- &
    record_pid "$STATE/keeper" $!
    disown
}

keep() { # PID START-TIME
    while [ "$(start_time "$1" || true)" = "$2" ]; do sleep 1; done
    rm -f "$STATE/keeper"
    down
}
