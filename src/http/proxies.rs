//! The proxies whose word is taken: addresses, networks, and whoever connects to a unix socket.
//!
//! An IPv4 address mapped into IPv6 (`::ffff:a.b.c.d`, as a socket of both families shows it) is that IPv4 address,
//! in the list and in what is looked up. Pure functions over values; no I/O.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::sys::Peer;

/// The trusted proxies. None is the default, and then nothing that a peer says of others is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    networks: Vec<Network>,
    /// Whether every peer on a unix socket is one.
    has_unix: bool,
    /// Whether each connection of one begins with a header of the PROXY protocol.
    pub speak_proxy_protocol: bool,
}

/// An entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Peers whose address is in a network; an address alone is a network of one.
    Network(Network),
    /// Every peer on a unix socket: the permissions of its file say who that can be.
    Unix,
}

/// A network in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address, without host bits; of IPv4 in the last 32 bits.
    bits: u128,
    mask: u128,
    is_ipv4: bool,
}

impl Proxies {
    /// Adds an entry.
    pub fn trust(&mut self, proxy: Proxy) {
        match proxy {
            Proxy::Network(network) => self.networks.push(network),
            Proxy::Unix => self.has_unix = true,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.has_unix
    }

    /// Whether this peer is one.
    #[must_use]
    pub fn trusts(&self, peer: Peer) -> bool {
        match peer.ip() {
            Some(ip) => self.trusts_ip(ip),
            None => self.has_unix,
        }
    }

    /// Whether there is one at this address.
    #[must_use]
    pub fn trusts_ip(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.has(ip))
    }
}

impl Network {
    /// Whether an address lies in it. A network of one family has no address of the other.
    #[must_use]
    pub fn has(&self, ip: IpAddr) -> bool {
        let (bits, is_ipv4) = match ip.to_canonical() {
            IpAddr::V4(ip) => (u128::from(ip.to_bits()), true),
            IpAddr::V6(ip) => (ip.to_bits(), false),
        };
        is_ipv4 == self.is_ipv4 && bits & self.mask == self.bits
    }
}

impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Proxy, String> {
        if text == "unix" { Ok(Proxy::Unix) } else { text.parse().map(Proxy::Network) }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let (address, size) = match text.split_once('/') {
            Some((address, size)) => (address, Some(size)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err(format!("`{address}` is no IP address; write 10.0.0.0/8, 192.0.2.1, fd00::/8 or unix"));
        };
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let Some(size) = size.map_or(Some(width), |size| prefix_size(size, width)) else {
            return Err(format!("the size of the prefix is a number from 0 to {width}"));
        };
        // A mapped prefix is one of IPv4 where all of the mapping is in it (RFC 4291 §2.5.5.2).
        let (address, size, width) = match address.to_canonical() {
            IpAddr::V4(ip) if width == 32 || size >= MAPPING_SIZE => {
                (u128::from(ip.to_bits()), if width == 32 { size } else { size - MAPPING_SIZE }, 32)
            }
            IpAddr::V4(ip) => (ip.to_ipv6_mapped().to_bits(), size, 128),
            IpAddr::V6(ip) => (ip.to_bits(), size, 128),
        };
        let host_mask = u128::MAX.checked_shr(128 - (width - size)).unwrap_or(0);
        let mask = !host_mask & u128::MAX >> (128 - width);
        let network = Network { bits: address & mask, mask, is_ipv4: width == 32 };
        if address != network.bits {
            return Err(format!("bits are set behind the prefix; the network is {}", network.shown(size)));
        }
        Ok(network)
    }
}

impl Network {
    fn shown(&self, size: u32) -> String {
        let ip = match u32::try_from(self.bits) {
            Ok(bits) if self.is_ipv4 => IpAddr::V4(bits.into()),
            Ok(_) | Err(_) => IpAddr::V6(Ipv6Addr::from_bits(self.bits)),
        };
        format!("{ip}/{size}")
    }
}

/// A number without a sign, a leading zero or anything else, up to `max`.
fn prefix_size(text: &str, max: u32) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|size| is_plain && *size <= max)
}

/// Bits in front of an IPv4 address that is mapped into IPv6.
const MAPPING_SIZE: u32 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn has(network: &str, ip: &str) -> bool {
        network.parse::<Network>().expect("a network").has(ip.parse().expect("an address"))
    }

    #[test]
    fn networks_have_their_addresses() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.1/32", "::ffff:192.0.2.1", "192.0.2.0"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
            ("::ffff:192.0.2.1", "192.0.2.1", "::192.0.2.1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
            ("2001:db8::/127", "2001:db8::1", "2001:db8::2"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            assert!(has(network, inside), "{network} has {inside}");
            assert!(!has(network, outside), "{network} does not have {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_told() {
        for (text, reason) in [
            ("", "no IP address"),
            ("localhost", "no IP address"),
            ("10.0.0/8", "no IP address"),
            ("010.0.0.0/8", "no IP address"),
            ("[::1]", "no IP address"),
            ("10.0.0.0/33", "from 0 to 32"),
            ("::/129", "from 0 to 128"),
            ("10.0.0.0/", "from 0 to 32"),
            ("10.0.0.0/+8", "from 0 to 32"),
            ("10.0.0.0/08", "from 0 to 32"),
            ("10.0.0.1/8", "the network is 10.0.0.0/8"),
            ("fd00::1/8", "the network is fd00::/8"),
            ("::ffff:10.0.0.1/104", "the network is 10.0.0.0/8"),
            ("::ffff:0.0.0.0/90", "the network is ::ffc0:0:0/90"),
            ("10.0.0.1/0", "the network is 0.0.0.0/0"),
        ] {
            let refused = text.parse::<Proxy>().expect_err(text);
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn a_list_has_networks_and_unix_sockets() {
        let mut proxies = Proxies::default();
        let inet = |text: &str| Peer::Portless(text.parse().expect("an address"));
        assert!(proxies.is_empty() && !proxies.trusts(Peer::Unix) && !proxies.trusts(inet("127.0.0.1")));
        proxies.trust("127.0.0.0/8".parse().expect("a network"));
        assert!(!proxies.is_empty() && !proxies.trusts(Peer::Unix) && proxies.trusts(inet("::ffff:127.0.0.1")));
        proxies.trust("unix".parse().expect("a word"));
        assert!(proxies.trusts(Peer::Unix) && !proxies.trusts(inet("::1")));
    }
}
