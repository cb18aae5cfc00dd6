# shellcheck shell=bash
# Light hosts: an sshd in mount and pid namespaces of its own, with this machine's file system.

# Users are kept apart by the second octet.
light_address() { # NUMBER
    local user=152
    is_root || user=$((10 + $(id -u) % 100))
    echo "127.$user.$(($(fact octet) - 152)).$((100 + $1))"
}

# One port for all hosts: 22 if that is allowed and free, else the first free one from 2222.
light_port() {
    local port
    if is_root && ! port_answers "$(light_address 0)" 22; then echo 22; return; fi
    for port in $(seq 2222 2300); do port_answers "$(light_address 0)" "$port" || { echo "$port"; return; }; done
    die "no free port for the light hosts"
}

port_answers() { # ADDRESS PORT
    timeout 0.3 bash -c ": <>/dev/tcp/$1/$2" 2>/dev/null
}

# The commands that light-command replaces in a light host.
light_commands() { echo "systemctl reboot shutdown poweroff halt"; is_root || echo sudo; }

make_light_layer() {
    local command
    mkdir -p "$STATE/bin"
    for command in $(light_commands); do ln -s "$ROOT/tools/testbed/light-command" "$STATE/bin/$command"; done
    cp "$STATE/key.pub" "$STATE/authorized_keys"
}

make_light_host() { # NAME ADDRESS PORT
    local h=$STATE/hosts/$1
    : >"$h/events"
    mkdir "$h/home"
    cat >"$h/sshd_config" <<CONF
ListenAddress $2
Port $3
HostKey $h/hostkey
KexAlgorithms curve25519-sha256
AuthorizedKeysFile $STATE/authorized_keys
AllowUsers $(id -un)
StrictModes no
UsePAM no
UseDNS no
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
SetEnv HOME=$h/home TESTBED_COMMANDS=$h/commands PATH=$STATE/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Subsystem sftp internal-sftp
CONF
}

# Runs a light host and waits until it ends; called by its supervisor.
run_light() { # NAME
    cat /proc/sys/kernel/random/uuid >"$STATE/hosts/$1/boot-id"
    unshare -mpf --kill-child --mount-proc "$TESTBED" --state "$STATE" __light-init "$1"
}

# Process 1 of a light host: mounts its boot id and its commands, starts sshd, and ends on SIGTERM (reboot) or SIGINT
# (power off).
light_init() { # NAME
    local h=$STATE/hosts/$1 command real sshd
    trap 'record_event "$h" down; exit $REBOOT' TERM
    trap 'record_event "$h" down; exit 0' INT
    mount --bind "$h/boot-id" /proc/sys/kernel/random/boot_id
    for command in $(light_commands); do
        # A link leads to systemctl, which is replaced too and acts by the name it is called by.
        for real in "/usr/bin/$command" "/usr/sbin/$command"; do
            [ ! -f "$real" ] || [ -L "$real" ] || mount --bind "$ROOT/tools/testbed/light-command" "$real"
        done
    done
    # A client of systemd must not reach that of this machine.
    [ ! -d /run/systemd/system ] || mount -t tmpfs tmpfs /run/systemd
    if is_root; then
        mkdir -p /run/sshd # sshd's chroot directory
        unlock_root "$h"
    fi
    sshd=$(command -v sshd || echo /usr/sbin/sshd)
    record_event "$h" up
    if is_root; then "$sshd" -D -e -f "$h/sshd_config" &
    else setpriv --ambient-caps -all --inh-caps -all "$sshd" -D -e -f "$h/sshd_config" & fi
    wait
}

# sshd rejects an account whose password is locked with '!', even with a key: in the host it is '*'.
unlock_root() { # HOST-DIR
    ! grep -q '^root:!' /etc/shadow || {
        (umask 077; sed 's/^root:[^:]*/root:*/' /etc/shadow >"$1/shadow")
        mount --bind "$1/shadow" /etc/shadow
    }
}
