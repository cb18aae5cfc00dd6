# What kind of host this is, one `key: value` a line. POSIX sh; changes nothing, needs no root.
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Never sourced: it would be executed. A line is marked, so that it cannot pose as another key.
release=/etc/os-release
[ -r "$release" ] || release=/usr/lib/os-release
[ -r "$release" ] && sed 's/^/os-release: /' "$release"
echo

[ -e /run/ostree-booted ] && echo 'ostree: yes'
echo "boot-id: $(cat /proc/sys/kernel/random/boot_id)"
read -r id 2>/dev/null </etc/machine-id && echo "machine-id: $id"
echo "machine: $(uname -m)"
echo "cpus: $(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c ^processor /proc/cpuinfo)"
sed -n 's/^MemTotal: */memory-kib: /p' /proc/meminfo

# Real file systems, each device once. Only these are asked for their size: a network file system
# whose server is gone would never answer.
seen=' '
while read -r _ _ device _ mount rest; do
  type=${rest#*- }
  type=${type%% *}
  case $type in
    ext2|ext3|ext4|xfs|btrfs|f2fs|jfs|reiserfs|zfs|bcachefs|vfat) ;;
    overlay) [ "$mount" = / ] || continue ;;
    *) continue ;;
  esac
  case $seen in *" $device "*) continue ;; esac
  seen="$seen$device "
  size=$(df -Pk "$(printf %b "$mount")" 2>/dev/null | sed 1d)
  [ -n "$size" ] && echo "disk: $device $type $size"
done </proc/self/mountinfo

for process in /proc/[0-9]*/comm; do
  { read -r name <"$process"; } 2>/dev/null || continue
  case $name in
    dockerd|containerd|crio|kubelet) echo "running: $name" ;;
    k3s|k3s-server|k3s-agent|rke2) echo 'running: kubelet' ;;
  esac
done
if command -v systemctl >/dev/null 2>&1; then
  for unit in docker containerd crio cri-o podman kubelet; do
    systemctl is-active --quiet "$unit" 2>/dev/null && echo "running: $unit"
  done
fi

# Services that reboot the host by themselves.
if command -v systemctl >/dev/null 2>&1; then
  systemctl is-active --quiet zincati 2>/dev/null && echo 'rebooter: zincati'
  systemctl is-enabled --quiet dnf-automatic.timer 2>/dev/null &&
    grep -qE '^[[:space:]]*reboot[[:space:]]*=[[:space:]]*when' /etc/dnf/automatic.conf 2>/dev/null &&
    echo 'rebooter: dnf-automatic'
fi
if command -v unattended-upgrade >/dev/null 2>&1; then
  apt-config dump Unattended-Upgrade::Automatic-Reboot 2>/dev/null | grep -qiE '"(true|1|yes)"' &&
    echo 'rebooter: unattended-upgrades'
fi

for python in python3 /usr/bin/python3 /usr/libexec/platform-python python; do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  echo "python: $version"
  break
done
exit 0
