//! Which hosts and addresses may be reached behind a URL that somebody else wrote.
//!
//! A name is judged after it was resolved, by the resolver that the connection itself uses, so that there
//! is no second look-up that could answer differently; an address in the URL is judged on every redirect.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::Url;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use url::Host;

/// What an operator allowed: "host", "host:port", an address, or a block "10.1.0.0/16".
#[derive(Debug, Default, Clone)]
pub struct Rules {
    hosts: Vec<(String, Option<u16>)>,
    blocks: Vec<(IpAddr, u8)>,
}

impl Rules {
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut rules = Self::default();
        for entry in entries {
            let bad = || format!("\"{entry}\" is neither a host, host:port, address nor block");
            if let Some((address, bits)) = entry.split_once('/') {
                let address: IpAddr = address.parse().map_err(|_| bad())?;
                let bits: u8 = bits.parse().map_err(|_| bad())?;
                if bits > if address.is_ipv4() { 32 } else { 128 } {
                    return Err(bad());
                }
                rules.blocks.push((address, bits));
            } else if let Ok(address) = entry.parse::<IpAddr>() {
                rules.blocks.push((address, if address.is_ipv4() { 32 } else { 128 }));
            } else {
                // The URL parser knows how to write a host; port 0 stands for none.
                let url = Url::parse(&format!("lorry://{entry}")).map_err(|_| bad())?;
                let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(bad)?;
                if entry.contains('@') {
                    return Err(bad());
                }
                rules.hosts.push((host.to_ascii_lowercase(), url.port()));
            }
        }
        Ok(rules)
    }

    /// Allowed by name, whatever it resolves to.
    pub fn allows_host(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let port = url.port_or_known_default();
        let same = |(name, only): &&(String, Option<u16>)| {
            name.eq_ignore_ascii_case(host) && only.is_none_or(|only| Some(only) == port)
        };
        self.hosts.iter().find(same).is_some()
    }

    pub fn allows_address(&self, address: IpAddr) -> bool {
        is_public(address) || self.blocks.iter().any(|block| contains(block, address))
    }

    /// An address that stands in the URL itself never meets the resolver.
    pub fn check_literal(&self, url: &Url) -> Result<(), Forbidden> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            _ => return Ok(()),
        };
        match self.allows_address(address) {
            true => Ok(()),
            false => Err(Forbidden { host: address.to_string(), address }),
        }
    }
}

fn contains(&(network, bits): &(IpAddr, u8), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            bits == 0 || (a.to_bits() ^ b.to_bits()) >> (32 - u32::from(bits)) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            bits == 0 || (a.to_bits() ^ b.to_bits()) >> (128 - u32::from(bits)) == 0
        }
        (a @ IpAddr::V4(_), IpAddr::V6(b)) => {
            b.to_ipv4_mapped().is_some_and(|b| contains(&(a, bits), IpAddr::V4(b)))
        }
        _ => false,
    }
}

/// Reachable by anyone on the internet: neither private, loopback, link-local (where clouds keep their
/// metadata), shared (CGNAT), multicast, documentation nor reserved.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    // RFC 6890's special-purpose registry, and class E.
    const SPECIAL: [(Ipv4Addr, u8); 15] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(192, 88, 99, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
    ];
    !SPECIAL.iter().any(|&(network, bits)| contains(&(network.into(), bits), address.into()))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let low_v4 = || Ipv4Addr::from_bits(address.to_bits() as u32);
    if address.to_ipv4_mapped().is_some() || parts[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return is_public_v4(low_v4()); // ::ffff:a.b.c.d, and NAT64's way to write a.b.c.d
    }
    if parts[0] == 0x2002 {
        return is_public_v4(Ipv4Addr::from_bits((address.to_bits() >> 80) as u32));
        // 6to4
    }
    let global_unicast = parts[0] & 0xe000 == 0x2000;
    let protocol_assignments = parts[0] == 0x2001 && parts[1] < 0x200; // Teredo among them
    let documentation =
        (parts[0] == 0x2001 && parts[1] == 0xdb8) || (parts[0] == 0x3fff && parts[1] < 0x1000);
    global_unicast && !protocol_assignments && !documentation
}

/// Why a connection was refused; found again in the chain of causes of the HTTP client's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden {
    pub host: String,
    pub address: IpAddr,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is at {}, which is not a public address (--allow-private-host lists those that \
             may be asked)",
            self.host, self.address
        )
    }
}

impl std::error::Error for Forbidden {}

/// The system's resolver, less the addresses that may not be reached.
pub struct GuardedResolver(pub Arc<Rules>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            Ok(allowed(&rules, &host, found)?)
        })
    }
}

fn allowed(rules: &Rules, host: &str, found: Vec<SocketAddr>) -> Result<Addrs, Forbidden> {
    let first = found.first().copied();
    let allowed: Vec<SocketAddr> =
        found.into_iter().filter(|found| rules.allows_address(found.ip())).collect();
    match first {
        Some(first) if allowed.is_empty() => {
            Err(Forbidden { host: host.to_owned(), address: first.ip() })
        }
        _ => Ok(Box::new(allowed.into_iter())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn special_addresses_are_not_public() {
        for text in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2001:db8::1",
            "3fff:1::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn the_internet_is_public() {
        for text in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860::8888",
            "2a00:1450::1",
            "64:ff9b::1.1.1.1",
            "::ffff:1.1.1.1",
            "2002:101:101::1",
        ] {
            assert!(public(text), "{text}");
        }
    }

    #[test]
    fn a_literal_is_judged_in_whatever_way_it_is_written() {
        let rules = Rules::default();
        for text in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://127.1:80/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://0/",
            "http://169.254.169.254/latest/meta-data/",
            "http://127。0。0。1/",
        ] {
            assert!(rules.check_literal(&url(text)).is_err(), "{text}");
        }
        assert!(rules.check_literal(&url("https://1.1.1.1/")).is_ok());
        assert!(rules.check_literal(&url("https://localhost/")).is_ok(), "the resolver's business");
    }

    #[test]
    fn what_was_allowed_is_allowed_and_no_more() {
        let rules = Rules::parse([
            "store.internal",
            "localhost:9000",
            "10.1.0.0/16",
            "fd00::/8",
            "127.0.0.2",
        ])
        .unwrap();
        assert!(rules.allows_host(&url("http://Store.Internal:1234/x")));
        assert!(rules.allows_host(&url("http://localhost:9000/")));
        assert!(!rules.allows_host(&url("http://localhost:9001/")));
        assert!(!rules.allows_host(&url("http://store.internal.evil.example/")));
        let allows = |text: &str| rules.allows_address(text.parse().unwrap());
        assert!(allows("10.1.255.1") && allows("fd12::1") && allows("127.0.0.2"));
        assert!(allows("::ffff:10.1.0.1"), "the same address");
        assert!(!allows("10.2.0.1") && !allows("127.0.0.1") && !allows("fe80::1"));
        assert!(rules.check_literal(&url("http://10.1.2.3/")).is_ok());
        assert!(rules.check_literal(&url("http://10.2.2.3/")).is_err());
    }

    #[test]
    fn rules_that_say_nothing_are_refused() {
        for text in ["10.0.0.0/33", "::/129", "host/8", "", ":80", "a b", "host:99999"] {
            assert!(Rules::parse([text]).is_err(), "{text}");
        }
        let all = Rules::parse(["0.0.0.0/0", "::/0"]).unwrap();
        assert!(all.allows_address("127.0.0.1".parse().unwrap()));
        assert!(all.allows_address("::1".parse().unwrap()));
    }

    #[test]
    fn a_name_keeps_its_public_addresses_only() {
        let rules = Rules::default();
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let kept: Vec<SocketAddr> =
            allowed(&rules, "mixed.example", parse(&["10.0.0.1:0", "1.1.1.1:0", "[::1]:0"]))
                .unwrap()
                .collect();
        assert_eq!(kept, parse(&["1.1.1.1:0"]));
        let refused = allowed(&rules, "inside.example", parse(&["169.254.169.254:0", "[::1]:0"]));
        let refused = refused.err().unwrap();
        assert_eq!(refused.host, "inside.example");
        assert_eq!(refused.address, "169.254.169.254".parse::<IpAddr>().unwrap());
    }
}
