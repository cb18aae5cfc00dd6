# shellcheck shell=bash
# Logging in to a host over SSH, waiting for it, and its host keys.

login() { # [USER@]NAME [CMD…]
    local name=${1#*@} user=''
    case $1 in *@*) user=${1%%@*} ;; esac
    shift
    ssh -F none -i "$STATE/key" -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR -o ConnectTimeout="${CONNECT_TIMEOUT:-10}" \
        -o UserKnownHostsFile="$STATE/known_hosts" -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes \
        -p "$(<"$STATE/hosts/$name/port")" "${user:-$(fact user)}@$(<"$STATE/hosts/$name/address")" -- "$@"
}

# Waits first for `up` in the reboot log, which costs little, then for a log-in.
await() { # NAME
    local h=$STATE/hosts/$1 seconds=${TESTBED_TIMEOUT:-60}
    wait_until "$seconds" up_or_gone "$1" || true
    if ! runs "$1"; then why_failed "$1" "it ended"; return 1; fi
    if ! says_up "$1"; then why_failed "$1" "sshd did not start within $seconds s"; return 1; fi
    take_host_key "$1"
    wait_until "$seconds" logs_in "$1" || { why_failed "$1" "no log-in within $seconds s: $(<"$h/login-error")"; return 1; }
}

says_up() { # NAME
    case $(tail -n 1 "$STATE/hosts/$1/events") in *' up') return 0 ;; *) return 1 ;; esac
}

up_or_gone() { says_up "$1" || ! runs "$1"; } # NAME
logs_in() { CONNECT_TIMEOUT=2 login "$1" true </dev/null 2>"$STATE/hosts/$1/login-error"; } # NAME

why_failed() { # NAME REASON
    say "host $1 did not come up: $2"
    tail -n 8 "$STATE/hosts/$1/log" 2>/dev/null | tr -d '\033\r' | sed 's/^/testbed:   /' >&2 || true
}

# cloud-init generates host keys for a new instance, before sshd starts.
take_host_key() { # NAME
    local h=$STATE/hosts/$1 new=$STATE/hosts/$1/upper/etc/ssh/ssh_host_ed25519_key
    [ "$(<"$h/flavour")" = cloud-init ] && ! cmp -s "$new" "$h/hostkey" || return 0
    cp -p "$new" "$h/hostkey"
    cp -p "$new.pub" "$h/hostkey.pub"
    set_known_host "$1"
}

# Replaces the line of a host, and the file as a whole, for concurrent readers.
set_known_host() { # NAME
    local address port
    address=$(<"$STATE/hosts/$1/address")
    port=$(<"$STATE/hosts/$1/port")
    [ "$port" = 22 ] || address="[$address]:$port"
    (
        exec 7>"$STATE/known_hosts.lock"
        flock 7
        { grep -vF "$address " "$STATE/known_hosts" 2>/dev/null || true; echo "$address $(<"$STATE/hosts/$1/hostkey.pub")"; } >"$STATE/known_hosts.new"
        mv "$STATE/known_hosts.new" "$STATE/known_hosts"
    )
}

new_host_key() { # NAME FILE
    rm -f "$2" "$2.pub"
    ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$2" </dev/null
}
