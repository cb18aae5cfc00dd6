# Waits for the executor's go-ahead for a command that may make this host unavailable.
#
#   await_go_ahead NAME [DIR]
#
# It returns 0 once the go-ahead is given in time by the generation of the installation that has this host (claim.sh, whose
# text comes with this one; DIR is that of its mark). Else it prints why not and returns 77: `late` (the go-ahead arrived
# after the uptime of this host until which it is valid), `refused` (by the executor), `expired` (there was none within
# a minute: the executor or the connection is gone), `fenced` (as claim.sh says). It returns 1 when it can't wait.
#
# The go-ahead is the line `proceed UPTIME INSTANCE GENERATION ID MODE SIGNATURE`, with an uptime in hundredths of a second, in the
# FIFO NAME of a directory that only root can enter. (On a test host whose user is not root it is below the user's home
# directory.)
await_go_ahead() {
    run=/run
    [ -w /run ] || run=$HOME
    fifo=$run/commissaire/$1
    (umask 077 && mkdir -p "$run/commissaire" && mkfifo "$fifo") || return 1
    # Opened for both, so that neither this nor the executor's side waits for the other.
    exec 8<>"$fifo"
    # No `read` with a timeout in a POSIX shell. It must not hold a lock of the caller (9).
    { sleep 60; echo expired >&8; } </dev/null >/dev/null 2>&1 9>&- &
    word='' valid_until=0 instance='' generation='' id='' mode='' signature=''
    read -r word valid_until instance generation id mode signature <&8 || true
    kill "$!" 2>/dev/null || true
    rm -f "$fifo"
    exec 8>&-
    if [ "$word" = proceed ]; then
        claim_host "${2-}" "$instance" "$generation" "$id" "$mode" "$signature" || return
        # Last: the claim may have waited for a lock or a disk.
        read -r uptime idle </proc/uptime
        [ "${uptime%.*}${uptime#*.}" -gt "$valid_until" ] || return 0
        release_claim
        word=late
    fi
    echo "$word"
    return 77
}
