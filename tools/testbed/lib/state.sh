# shellcheck shell=bash
# How the command fails, and the state directory of a testbed with all of its facts:
#
#   facts/KIND…    kind (booted, light), octet of its network, user to log in as, firewall (yes, no), port (light hosts)
#   hosts/NAME/    address, port, flavour, hostkey, events (the reboot log), log, supervisor (pid and token);
#                  cut, drop, no-return: empty files, one a fault; did-not-return after a reboot with no-return
#   layer/         the shared layer of booted hosts; bin/ and authorized_keys: the same of light hosts
#   key, known_hosts, keeper (pid), lock, ready (`up` has succeeded), mounted (the directory is a tmpfs of ours)

usage() { say "$@"; say "see: testbed --help"; exit 2; }
beyond() { say "$@"; exit 3; } # these hosts can't do what was asked for

default_state() {
    local run=${XDG_RUNTIME_DIR:-/run}
    if [ -w "$run" ]; then echo "$run/commissaire-testbed"; else echo "/tmp/commissaire-testbed-$(id -u)"; fi
}

# The path is part of mount options and of sshd's configuration, where other characters have a meaning.
set_state() {
    STATE=$(realpath -m -- "${STATE:-$(default_state)}")
    case $STATE in *[!A-Za-z0-9_./@+=-]*) die "the state directory may only have letters, digits and _./@+=- in its name: $STATE" ;; esac
}

fact() { cat "$STATE/facts/$1" 2>/dev/null; } # FACT
is_booted() { [ "$(fact kind)" = booted ]; }
is_up() { [ -e "$STATE/facts/kind" ]; }
must_be_up() { is_up || die "no testbed is up in $STATE"; }
host_names() { (cd "$STATE/hosts" 2>/dev/null && ls) || true; }
has() { [ -e "$STATE/hosts/$1/$2" ]; } # NAME FILE
is_isolated() { has "$1" cut || has "$1" drop; } # NAME

# Prints the name of a host given by its name, address or number.
find_host() { # HOST
    local name number=0
    for name in $(host_names); do
        number=$((number + 1))
        case $1 in "$name" | "$number" | "$(<"$STATE/hosts/$name/address")" | "$(endpoint "$name")") echo "$name"; return ;; esac
    done
    die "no host $1 here; there are: $(host_names | tr '\n' ' ')"
}

# ADDRESS, or ADDRESS:PORT where the port is not 22.
endpoint() { # NAME
    local port
    port=$(<"$STATE/hosts/$1/port")
    if [ "$port" = 22 ]; then cat "$STATE/hosts/$1/address"; else echo "$(<"$STATE/hosts/$1/address"):$port"; fi
}
