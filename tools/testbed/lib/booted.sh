# shellcheck shell=bash
# Booted hosts: systemd-nspawn containers on an overlay of three layers, the base (base.sh), one that all hosts of the
# testbed share, and the host's own.

# ---------------------------------------------------------------- the shared layer

# Users, sshd, units and the stand-ins' program, on top of the base.
make_layer() { # DIR
    local d=$1 base user
    base=$(base_dir)
    mkdir -p "$d"/etc/{apt/apt.conf.d,systemd/system,systemd/system.conf.d,ssh/sshd_config.d,sudoers.d} "$d"/usr/{bin,lib/testbed} "$d"/home
    for user in passwd shadow group; do cp -p "$base/etc/$user" "$d/etc/$user"; done
    for user in ops:1001 plain:1002; do
        echo "${user%:*}:x:${user#*:}:${user#*:}::/home/${user%:*}:/bin/bash" >>"$d/etc/passwd"
        echo "${user%:*}:*:19000:0:99999:7:::" >>"$d/etc/shadow"
        echo "${user%:*}:x:${user#*:}:" >>"$d/etc/group"
        add_authorized_key "$d/home/${user%:*}" "${user#*:}"
    done
    add_authorized_key "$d/root" 0
    chmod 700 "$d/root"
    echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' >"$d/etc/sudoers.d/ops"
    chmod 440 "$d/etc/sudoers.d/ops"
    # The default key exchange costs the client 0.1 s of processor time for each log-in.
    cat >"$d/etc/ssh/sshd_config.d/testbed.conf" <<'CONF'
HostKey /etc/ssh/ssh_host_ed25519_key
KexAlgorithms curve25519-sha256
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
CONF
    # The bridge leads nowhere: whatever resolves a name, as apt-get update does, fails at once.
    : >"$d/etc/resolv.conf"
    echo 'Acquire::Retries "0";' >"$d/etc/apt/apt.conf.d/90testbed"
    printf '[Manager]\nDefaultTimeoutStopSec=5s\n' >"$d/etc/systemd/system.conf.d/testbed.conf"
    make_units "$d/etc/systemd/system"
    cat >"$d/usr/lib/testbed/event" <<'SCRIPT'
#!/bin/sh
# Appends `up` or `down` to the reboot log, unless that is its last entry.
log=/var/log/testbed.events
case $(tail -n 1 "$log") in *" $1") exit 0 ;; esac
echo "$(date +%s%3N) $1" >>"$log" || true
SCRIPT
    chmod 755 "$d/usr/lib/testbed/event"
    cp "$ROOT/tools/testbed/stand-in" "$d/usr/lib/testbed/stand-in"
    chmod 755 "$d/usr/lib/testbed/stand-in"
}

add_authorized_key() { # HOME UID
    mkdir -p "$1/.ssh"
    cp "$STATE/key.pub" "$1/.ssh/authorized_keys"
    chmod 700 "$1/.ssh"
    chmod 600 "$1/.ssh/authorized_keys"
    chown -R "$2:$2" "$1"
}

mask() { local unit; for unit in "$@"; do ln -sf /dev/null "$unit"; done; }

# Masks units that a test host does not need and that cost time at each boot or log-in.
make_units() ( # DIR
    cd "$1" || exit
    ln -sf /lib/systemd/system/multi-user.target default.target
    mask getty.target getty@tty1.service console-getty.service timers.target \
        e2scrub_reap.service remote-fs.target systemd-firstboot.service systemd-pstore.service \
        systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-hwdb-update.service \
        systemd-udevd.service systemd-udev-trigger.service systemd-machine-id-commit.service systemd-binfmt.service \
        systemd-modules-load.service systemd-random-seed.service systemd-networkd.service systemd-resolved.service \
        systemd-timesyncd.service systemd-journal-flush.service systemd-journal-catalog-update.service \
        cryptsetup.target veritysetup.target integritysetup.target dev-hugepages.mount sys-kernel-debug.mount \
        sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount kmod-static-nodes.service \
        proc-sys-fs-binfmt_misc.automount systemd-ask-password-wall.path systemd-ask-password-console.path
    mkdir -p ssh.service.d multi-user.target.wants
    cat >ssh.service.d/testbed.conf <<'UNIT'
[Unit]
Wants=testbed-network.service
After=testbed-network.service systemd-user-sessions.service
[Service]
ExecStartPre=/usr/lib/testbed/event up
UNIT
    cat >testbed-network.service <<'UNIT'
[Unit]
Description=Address of this test host
DefaultDependencies=no
Before=network.target ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /etc/testbed-network
UNIT
    cat >testbed-going.service <<'UNIT'
[Unit]
Description=Records that this host is going down
After=ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/usr/lib/testbed/event down
UNIT
    ln -sf /etc/systemd/system/testbed-going.service multi-user.target.wants/
)

# ---------------------------------------------------------------- one host

make_booted_host() { # NAME FLAVOUR ADDRESS
    local h=$STATE/hosts/$1
    mkdir -p "$h"/{upper/etc/ssh,upper/var/log,work,root}
    chmod 755 "$h/upper"
    chmod 711 "$h"
    echo "$1" >"$h/upper/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$1" >"$h/upper/etc/hosts"
    tr -d - </proc/sys/kernel/random/uuid >"$h/upper/etc/machine-id"
    cat >"$h/upper/etc/testbed-network" <<CONF
ip link set lo up
ip addr replace $3/24 brd + dev host0
ip link set host0 up
CONF
    install -m 600 "$h/hostkey" "$h/upper/etc/ssh/ssh_host_ed25519_key"
    cp "$h/hostkey.pub" "$h/upper/etc/ssh/ssh_host_ed25519_key.pub"
    : >"$h/upper/var/log/testbed.events"
    ln -s upper/var/log/testbed.events "$h/events"
    make_flavour "$h/upper" "$2"
}

# Boots a host and waits until it ends; called by its supervisor, in namespaces of its own.
run_booted() { # NAME
    local h=$STATE/hosts/$1 status=0
    # Where systemd does not run, nspawn can only clean up after itself if this is a file system of its own.
    [ -d /run/systemd/system ] || { mkdir -p /run/systemd; mountpoint -q /run/systemd || mount -t tmpfs tmpfs /run/systemd; }
    ip link del "vb-$1" 2>/dev/null || true # a killed nspawn may leave it behind
    mount -t overlay overlay -o "lowerdir=$STATE/layer:$(base_dir "$(<"$h/flavour")"),upperdir=$h/upper,workdir=$h/work" "$h/root"
    systemd-nspawn --quiet --register=no --keep-unit -b -D "$h/root" --network-bridge="ctb$(fact octet)" \
        --machine="$1" --resolv-conf=off --timezone=off --link-journal=no &
    keep_cut "$1"
    wait $! || status=$?
    umount -l "$h/root"
    return "$status"
}

# nspawn brings the link up at each start: a host that is cut off stays so, unless it is healed in the meantime.
keep_cut() { # NAME
    local i
    for ((i = 0; i < 20; i++)); do
        has "$1" cut || return 0
        ip link set "vb-$1" down 2>/dev/null || true
        sleep 0.05
    done
}

# Moves this process to a cgroup of the host's own: in a shared one systemd would wait for the other hosts' processes.
own_cgroup() { # NAME
    local controller path mount
    while IFS=: read -r _ controller path; do
        case $controller in
            name=systemd) mount=/sys/fs/cgroup/systemd ;;
            '') mount=/sys/fs/cgroup; [ -e $mount/cgroup.procs ] || mount=$mount/unified ;;
            memory) mount=/sys/fs/cgroup/memory ;;
            *) continue ;;
        esac
        path=$mount${path%/}/testbed-$1
        echo "$path" >>"$STATE/hosts/$1/cgroups"
        { mkdir -p "$path" && echo $$ >"$path/cgroup.procs"; } 2>/dev/null || true
    done </proc/self/cgroup
}

remove_cgroups() { # HOST-DIR
    local path
    [ -e "$1/cgroups" ] || return 0
    while read -r path; do
        find "$path" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done <"$1/cgroups"
    rm -f "$1/cgroups"
}
