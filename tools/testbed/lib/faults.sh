# shellcheck shell=bash
# The verbs that restart, break and heal a host.

# Both a systemd and process 1 of a light host take their signal for "reboot".
reboot_host() { # NAME [--no-wait]
    local before pid
    pid=$(leader "$1") || die "$1 is down"
    before=$(ups "$1")
    if is_booted; then kill -s RTMIN+5 "$pid"; else kill -TERM "$pid"; fi
    [ "${2:-}" != --no-wait ] || return 0
    wait_until "${TESTBED_TIMEOUT:-60}" came_back_or_ended "$1" "$before" || die "$1 did not come back"
    if ! runs "$1"; then has "$1" did-not-return || die "$1 ended"; return 0; fi
    is_isolated "$1" || await "$1"
}

ups() { grep -c ' up$' "$STATE/hosts/$1/events" || true; } # NAME
came_back() { [ "$(ups "$1")" -gt "$2" ]; } # NAME BEFORE
came_back_or_ended() { came_back "$@" || ! runs "$1"; }

power_off() { # NAME
    local pid
    pid=$(leader "$1") || die "$1 is down"
    kill -KILL "$pid"
    wait_until 10 is_off "$1" || die "the loop of $1 does not end"
}

is_off() { ! runs "$1"; } # NAME

start() { # NAME
    ! runs "$1" || die "$1 is running"
    start_host "$1"
    is_isolated "$1" || await "$1"
}

# cloud-init identifies an instance by its id: for a new one it runs again all that it runs once.
seed() { # NAME FILE
    local h=$STATE/hosts/$1 dir=$STATE/hosts/$1/upper/var/lib/cloud/seed/nocloud
    [ "$(<"$h/flavour")" = cloud-init ] || beyond "$1 is of the flavour $(<"$h/flavour"): only cloud-init takes user data"
    [ -r "$2" ] || die "can't read $2"
    ! runs "$1" || power_off "$1"
    mkdir -p "$dir"
    install -m 600 "$2" "$dir/user-data"
    printf 'instance-id: %s\nlocal-hostname: %s\n' "$(cat /proc/sys/kernel/random/uuid)" "$1" >"$dir/meta-data"
    rm -f "$h/upper/etc/cloud/cloud-init.disabled"
    start "$1"
}

cut_off() { # NAME
    is_booted || firewall add unreachable "$1"
    : >"$STATE/hosts/$1/cut"
    ! is_booted || ip link set "vb-$1" down 2>/dev/null || true # a host that is down is cut off when it starts
}

drop() { # NAME
    firewall add dropped "$1"
    : >"$STATE/hosts/$1/drop"
}

heal() { # NAME
    local h=$STATE/hosts/$1
    if has "$1" drop; then firewall delete dropped "$1"; fi
    if has "$1" cut && ! is_booted; then firewall delete unreachable "$1"; fi
    rm -f "$h/cut" "$h/drop" "$h/no-return"
    ! is_booted || ip link set "vb-$1" up 2>/dev/null || true
    if has "$1" did-not-return; then start "$1"; fi
}

rekey() { # NAME
    local pid h=$STATE/hosts/$1
    pid=$(leader "$1") || die "$1 is down"
    new_host_key "$1" "$h/hostkey.new"
    if is_booted; then
        nsenter -t "$pid" -m -u -i -n -p -- sh -c 'cat >/etc/ssh/ssh_host_ed25519_key' <"$h/hostkey.new"
        nsenter -t "$pid" -m -u -i -n -p -- sh -c 'cat >/etc/ssh/ssh_host_ed25519_key.pub; systemctl restart ssh' <"$h/hostkey.new.pub"
    fi
    mv "$h/hostkey.new" "$h/hostkey"
    mv "$h/hostkey.new.pub" "$h/hostkey.pub"
    set_known_host "$1"
    is_booted || restart_light_sshd "$pid"
    is_isolated "$1" || await "$1"
}

# sshd loads its configuration and keys on SIGHUP; it is the only child of process 1 with this name.
restart_light_sshd() { # LEADER
    local pid
    for pid in $(children "$1"); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != sshd ] || kill -HUP "$pid"
    done
}
