"""Where requests to targets may go: hides names, addresses in disguise and what clouds answer on.

Loopback, private and public addresses are allowed: targets live there. Link-local addresses and the metadata services
of clouds never are: they hand out credentials of the machine. The check is made on the address that is then used, so
a name cannot answer differently in between.
"""

from __future__ import annotations

import ipaddress
import socket
import time

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Metadata services outside the link-local ranges: Alibaba, Oracle (classic), Azure's wire server, AWS over IPv6.
_METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Forbidden(Exception):
    """An address that is never asked; the text says why."""


def address_problem(address: Address) -> str | None:
    """Return why an address is never asked, or None; IPv4 addresses inside IPv6 ones are looked at."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return address_problem(inner)
    if address in _METADATA:
        return "it is a cloud's metadata service"
    if address.is_link_local:
        return "it is link-local, where clouds answer with credentials"
    if address.is_unspecified or address.is_multicast or (address.is_reserved and not address.is_loopback):
        return "it is no address of a single machine"
    return None


def check_address(text: str) -> None:
    """Raise Forbidden when requests to an IP address (with or without a zone) are not allowed."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if problem := address_problem(address):
        raise Forbidden(f"requests to {address} are not allowed: {problem}")


def connect(host: str, port: int, deadline: float) -> socket.socket:
    """Return a TCP connection to an allowed address of `host`, tried in the system's order, before `deadline`.

    `deadline` is of `time.monotonic`. Raises Forbidden when any address of the name is forbidden, else the last
    OSError (a name that is not known among them).
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for _, _, _, _, sockaddr in found:
        check_address(str(sockaddr[0]))
    problem: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, sockaddr in found:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out while connecting")
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left)
            connection.connect(sockaddr)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            connection.close()
            problem = error
    raise problem
