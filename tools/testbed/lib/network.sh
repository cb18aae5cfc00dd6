# shellcheck shell=bash
# The network of a testbed: its octet (192.168.OCTET.0/24), the bridge of booted hosts, and the firewall that cuts
# hosts off.

slots_dir() {
    if is_root; then echo /run/commissaire-testbed-slots; else echo "${XDG_RUNTIME_DIR:-/tmp}/commissaire-testbed-slots-$(id -u)"; fi
}

# A slot is a file that names a state directory; it counts as long as that directory has the same octet.
slot_is_taken() {
    local owner
    owner=$(cat "$(slots_dir)/$1" 2>/dev/null) || return 1
    [ "$(cat "$owner/facts/octet" 2>/dev/null)" = "$1" ]
}

net_is_taken() { # OCTET
    [ -e "/sys/class/net/ctb$1" ] || [ -n "$(ip -4 addr show to "192.168.$1.0/24" 2>/dev/null)$(ip -4 route show root "192.168.$1.0/24" 2>/dev/null)" ]
}

# Reserves the first octet from 152 that no other testbed and no network of this machine uses.
reserve_octet() { # booted|light
    local octet dir
    dir=$(slots_dir)
    (umask 077 && mkdir -p "$dir")
    [ -O "$dir" ] || die "$dir is another user's"
    exec 7>"$dir/lock"
    flock 7
    for octet in $(seq 152 254) ''; do
        [ -n "$octet" ] || die "no free network among 192.168.152.0/24 … 192.168.254.0/24"
        ! slot_is_taken "$octet" || continue
        [ "$1" = light ] || ! net_is_taken "$octet" || continue
        # Written before the bridge is made, for `down` after an interruption.
        echo "$octet" >"$STATE/facts/octet"
        echo "$STATE" >"$dir/$octet"
        if [ "$1" = booted ]; then
            ip link add name "ctb$octet" address "02:c0:a8:$(printf %02x "$octet"):00:01" type bridge stp_state 0 forward_delay 0 2>/dev/null || continue
        fi
        break
    done
    exec 7>&-
}

free_slot() {
    local slot
    slot=$(slots_dir)/$(fact octet) || return 0
    [ "$(cat "$slot" 2>/dev/null)" != "$STATE" ] || rm -f "$slot"
}

# IPv6 is off and the MAC address fixed, so that the bridge does not change when hosts come and go.
make_bridge() {
    local octet
    octet=$(fact octet)
    { echo 1 >"/proc/sys/net/ipv6/conf/ctb$octet/disable_ipv6"; } 2>/dev/null || true
    ip addr add "192.168.$octet.1/24" brd + dev "ctb$octet"
    ip link set "ctb$octet" up
}

# Two sets of addresses, empty until a host is cut off or its packets are dropped.
make_firewall() {
    nft -f - <<RULES 2>/dev/null
table inet ctb$(fact octet) {
    set dropped { type ipv4_addr; }
    set unreachable { type ipv4_addr; }
    chain out {
        type filter hook output priority -300; policy accept;
        ip daddr @unreachable reject with icmp type host-unreachable
        ip saddr @unreachable ip protocol != icmp drop
        ip daddr @dropped drop
        ip saddr @dropped drop
    }
    chain in {
        type filter hook input priority -300; policy accept;
        ip saddr @dropped drop
    }
    chain through {
        type filter hook forward priority -300; policy accept;
        ip daddr @dropped drop
        ip saddr @dropped drop
    }
}
RULES
}

remove_network() {
    local octet
    octet=$(fact octet) || return 0
    is_root || return 0
    ! have nft || nft delete table inet "ctb$octet" 2>/dev/null || true
    [ ! -e "/sys/class/net/ctb$octet" ] || ip link del "ctb$octet"
}

# Adds a host's address to a set, or deletes it, also when it was not in there.
firewall() { # add|delete SET NAME
    [ "$(fact firewall)" = yes ] || beyond "this needs nft: booted hosts, or light ones started by root where nftables works"
    local element
    element="{ $(<"$STATE/hosts/$3/address") }"
    nft "$1" element inet "ctb$(fact octet)" "$2" "$element" 2>/dev/null || [ "$1" = delete ] || die "nft refused to $1 $element"
}
