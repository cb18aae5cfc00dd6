# shellcheck shell=bash
# The verbs that only look: addresses, status, boot ids and the reboot log.

addresses() {
    local name
    for name in $(host_names); do echo "$(endpoint "$name") $name $(<"$STATE/hosts/$name/flavour")"; done
}

status() { # [--json]
    if [ "${1:-}" = --json ]; then
        if is_up; then json_status; else echo '{"up":false}'; return 1; fi
    else
        if is_up; then text_status; else echo "no testbed is up in $STATE"; return 1; fi
    fi
}

text_status() {
    local name
    echo "$(fact kind) hosts in $STATE, log in as $(fact user) with $STATE/key"
    for name in $(host_names); do
        printf '%s %s %s %s%s%s%s\n' "$(endpoint "$name")" "$name" "$(<"$STATE/hosts/$name/flavour")" "$(host_state "$name")" \
            "$(! has "$name" cut || echo ' cut')" "$(! has "$name" drop || echo ' drop')" "$(! has "$name" no-return || echo ' no-return')"
    done
}

json_status() {
    local name separator='' h
    printf '{"up":true,"state":"%s","kind":"%s","user":"%s","key":"%s","hosts":[' "$STATE" "$(fact kind)" "$(fact user)" "$STATE/key"
    for name in $(host_names); do
        h=$STATE/hosts/$name
        printf '%s{"name":"%s","address":"%s","port":%s,"flavour":"%s","state":"%s","boot_id":"%s","cut":%s,"drop":%s,"no_return":%s,"events":"%s"}' \
            "$separator" "$name" "$(<"$h/address")" "$(<"$h/port")" "$(<"$h/flavour")" "$(host_state "$name")" \
            "$(boot_id "$name" || true)" "$(boolean has "$name" cut)" "$(boolean has "$name" drop)" "$(boolean has "$name" no-return)" "$h/events"
        separator=,
    done
    echo ']}'
}

boolean() { if "$@"; then echo true; else echo false; fi; } # COMMAND…

# Down without a process 1; up or between by the reboot log, without a log-in.
host_state() { # NAME
    if ! leader "$1" >/dev/null; then echo down; elif says_up "$1"; then echo up; else echo between; fi
}

boot_id() { # NAME
    local pid
    pid=$(leader "$1") && cat "/proc/$pid/root/proc/sys/kernel/random/boot_id" 2>/dev/null
}

events() { # [NAME]
    local name
    if [ $# -gt 0 ]; then cat "$STATE/hosts/$1/events"; return; fi
    for name in $(host_names); do sed "s/\$/ $name/" "$STATE/hosts/$name/events"; done | sort -n
}
