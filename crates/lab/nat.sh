#!/bin/sh
# Home networks behind routers, and a server on the internet between them, in network namespaces. Needs root.
#
#   crates/lab/nat.sh up NAME KIND KIND…    build NAME-inet, NAME-{a,b,…}-router, NAME-{a,b,…}-home; NATs of these kinds for a, b
#                                           and so on; with a double one NAME-{a,b,…}-outer too
#   crates/lab/nat.sh down NAME             kill what runs in it, and remove it
#
#       home a ────── router a ────────── inet ────────── router b ────── home b
#       10.0.1.2 .1 ──────── 192.0.2.2 .1 ──── 198.51.100.1 .2 ──────── .1 10.0.2.2
#                                      203.0.113.1, for the server
#       home c, the third: 10.0.3.2, its router 198.18.3.2; and so on up to z
#
# Kinds, in the words of RFC 4787 (mapping / filtering):
#   none           a router without NAT
#   fullcone       endpoint-independent / endpoint-independent: what comes to the outer port goes in
#   address        endpoint-independent / address-dependent
#   port           endpoint-independent / address and port-dependent: the usual good home router
#   double         two of these, one behind the other: a home router behind that of a provider
#   symmetric      address and port-dependent / address and port-dependent: a new, random port for each peer
#   symmetric-seq  the same, but the next port each time
#
#   ip netns exec NAME-inet lllsi serve --listen 203.0.113.1:36542
#   ip netns exec NAME-a-home lllsi host --source test --server http://203.0.113.1:36542
#   ip netns exec NAME-b-home lllsi join LINK
set -eu

usage() {
    sed -n '2,/^set/s/^# \{0,3\}//p' "$0" >&2
    exit 2
}

inside() {
    where=$name-$1
    shift
    ip netns exec "$where" "$@"
}

# The packet filter of namespace $1, a router whose outer address is $2 and whose home is $4, with NAT of kind $3.
rules() {
    # A mapping that lets others in keeps the port, so that what comes for it finds its way.
    udp="snat ip to $2" in="" known=""
    case $3 in
    none) return ;;
    fullcone) in="dnat ip to $4" known="ct status dnat accept" other="snat ip to $2" ;;
    address) in="ip saddr @sent dnat ip to $4" known="ct status dnat accept" other="snat ip to $2" ;;
    # One outer port for each inner address and port, whatever the peer; through a map, since `offset` swaps bytes.
    port) udp="snat ip to $2:jhash ip saddr . udp sport mod 16384 seed 0x5eed1 map @ports" other="snat ip to $2" ;;
    symmetric) udp="snat ip to $2 fully-random" other=$udp ;;
    symmetric-seq) udp="snat ip to $2:numgen inc mod 16384 map @ports" other="snat ip to $2" ;;
    *) usage ;;
    esac
    ports=$(awk 'BEGIN { for (i = 0; i < 16384; i++) printf "%s%d : %d", i ? ", " : "", i, 40000 + i }')
    inside "$1" nft -f - <<RULES
table ip nat {
    map ports {
        typeof numgen inc mod 16384 : udp dport
        elements = { $ports }
    }
    set sent {
        type ipv4_addr
        flags dynamic,timeout
        timeout 2m
    }
    chain pre {
        type nat hook prerouting priority dstnat
        ${in:+iifname wan ip protocol udp $in}
    }
    chain post {
        type nat hook postrouting priority srcnat
        oifname wan ip protocol udp $udp
        oifname wan $other
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        oifname wan ip protocol udp update @sent { ip daddr }
        ct state established,related accept
        $known
        iifname wan drop
        $public
        ip daddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 } oifname wan drop
        oifname wan accept
    }
    # Accepting here would let a peer's early packet take the mapping's place in the table: punching would fail.
    chain input {
        type filter hook input priority filter; policy drop;
        iifname { lan, lo } accept
        ct state established,related accept
        ip protocol icmp accept
    }
}
RULES
}

# Side $1: inet's address $2, the router's outer $3 and inner $4, the home's $5, the home's network $6; NAT of kind $7.
side() {
    router=$name-$1-router home=$name-$1-home
    outer=$1-router kind=$7
    ip netns add "$router"
    ip netns add "$home"
    if [ "$kind" = double ]; then
        outer=$1-outer kind=port
        ip netns add "$name-$outer"
        ip link add name lan netns "$name-$outer" type veth peer name wan netns "$router"
        address "$outer" lan 100.64.0.1
        address "$1-router" wan 100.64.0.2
        forwards "$outer"
        inside "$1-router" ip route add default via 100.64.0.1
        rules "$1-router" 100.64.0.2 port "$5"
    fi
    ip link add name "to-$1" netns "$name-inet" type veth peer name wan netns "$name-$outer"
    ip link add name lan netns "$router" type veth peer name eth netns "$home"
    address inet "to-$1" "$2"
    address "$outer" wan "$3"
    address "$1-router" lan "$4"
    address "$1-home" eth "$5"
    forwards "$1-router"
    inside "$outer" ip route add default via "$2"
    inside "$1-home" ip route add default via "$4"
    # Used by `none` only: a NAT keeps its home's addresses to itself.
    inside inet ip route add "$6" via "$3"
    if [ "$outer" = "$1-router" ]; then behind=$5; else behind=100.64.0.2; fi
    rules "$outer" "$3" "$kind" "$behind"
}

# In namespace $1: interface $2 gets address $3.
address() {
    inside "$1" ip link set lo up
    inside "$1" ip address add "$3/24" dev "$2"
    inside "$1" ip link set "$2" up
}

forwards() {
    inside "$1" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
}

up() {
    ip netns add "$name-inet"
    forwards inet
    address inet lo 203.0.113.1
    # Homes without a NAT are reached at their own addresses, which would be public ones elsewhere.
    public="" number=0
    for kind; do
        number=$((number + 1))
        [ "$kind" != none ] || public="$public ip daddr 10.0.$number.0/24 oifname wan accept;"
    done
    letters=abcdefghijklmnopqrstuvwxyz number=0
    for kind; do
        rest=${letters#?} number=$((number + 1))
        letter=${letters%"$rest"} letters=$rest
        case $number in
        1) wide=192.0.2 ;;
        2) wide=198.51.100 ;;
        *) wide=198.18.$number ;;
        esac
        narrow=10.0.$number
        side "$letter" "$wide.1" "$wide.2" "$narrow.1" "$narrow.2" "$narrow.0/24" "$kind"
    done
}

down() {
    ip netns list | cut -d ' ' -f 1 | while read -r netns; do
        case $netns in
        "$name-inet" | "$name"-[a-z]-outer | "$name"-[a-z]-router | "$name"-[a-z]-home) ;;
        *) continue ;;
        esac
        for pid in $(ip netns pids "$netns" 2>/dev/null); do
            kill -9 "$pid" 2>/dev/null || true
        done
        ip netns delete "$netns" 2>/dev/null || true
    done
}

[ $# -gt 0 ] || usage
[ "$(id -u)" = 0 ] || { echo "lab/nat.sh: network namespaces need root" >&2; exit 1; }
for tool in ip nft; do
    command -v "$tool" >/dev/null || { echo "lab/nat.sh: $tool is missing (packages iproute2, nftables)" >&2; exit 1; }
done
what=$1 name=${2-}
case $what:$# in
down:2) down ;;
# As many kinds as there are letters.
up:[4-9] | up:1? | up:2[0-8]) shift 2; up "$@" ;;
*) usage ;;
esac
