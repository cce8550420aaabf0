//! Which loopback address belongs to whom.
//!
//! On Linux every address of 127.0.0.0/8 can be bound without rights or set-up. The mesh takes a part of it: the control
//! plane near its beginning, a pair of addresses for each pod, P (its sidecar's, the pod IP) in the lower half and A (its
//! application's) at the same place of the upper half, so that one can be told from the other at a glance. Addresses of
//! stopped pods come back last: a client that still holds one must not meet another pod there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;

/// The part of 127.0.0.0/8 that one mesh uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet(Ipv4Net);

/// The two addresses of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PodAddresses {
    /// P: what `status.podIP` says; the sidecar binds and dials from here.
    pub(crate) pod: Ipv4Addr,
    /// A: where the application listens. Equal to `pod` for a pod without a sidecar.
    pub(crate) app: Ipv4Addr,
}

/// Hands out pod addresses.
#[derive(Debug)]
pub(crate) struct AddressPool {
    subnet: Subnet,
    used: BTreeSet<u32>,
    next: u32,
}

impl Subnet {
    pub(crate) const DEFAULT: &'static str = "127.64.0.0/10";

    /// pilot-discovery's address.
    pub(crate) fn pilot(self) -> Ipv4Addr {
        self.at(2)
    }

    /// Citadel's address.
    pub(crate) fn citadel(self) -> Ipv4Addr {
        self.at(3)
    }

    pub(crate) fn base(self) -> Ipv4Addr {
        self.0.network()
    }

    pub(crate) fn overlaps(self, other: Subnet) -> bool {
        self.0.contains(&other.0) || other.0.contains(&self.0)
    }

    fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.0.network()) + offset)
    }

    fn half(self) -> u32 {
        1 << (31 - self.0.prefix_len())
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = "write a part of 127.0.0.0/8 without 127.0.0.1, with a prefix of 9 to 24, such as 127.80.0.0/16";
        let net: Ipv4Net = text
            .parse()
            .map_err(|_| format!("`{text}` is no IPv4 subnet; {hint}"))?;
        let inside = net.network().is_loopback() && (9..=24).contains(&net.prefix_len());
        if !inside || net.contains(&Ipv4Addr::LOCALHOST) {
            return Err(format!("`{text}` cannot hold a mesh; {hint}"));
        }
        Ok(Subnet(net.trunc()))
    }
}

impl AddressPool {
    pub(crate) fn new(subnet: Subnet) -> Self {
        let next = Self::first(subnet);
        AddressPool {
            subnet,
            used: BTreeSet::new(),
            next,
        }
    }

    /// The next free pair, or `None` when the subnet is full.
    pub(crate) fn allot(&mut self) -> Option<PodAddresses> {
        let (first, half) = (Self::first(self.subnet), self.subnet.half());
        let offset = (self.next..half)
            .chain(first..self.next)
            .find(|offset| !self.used.contains(offset))?;
        self.used.insert(offset);
        self.next = if offset + 1 < half { offset + 1 } else { first };
        Some(PodAddresses {
            pod: self.subnet.at(offset),
            app: self.subnet.at(offset + half),
        })
    }

    pub(crate) fn release(&mut self, addresses: PodAddresses) {
        self.used
            .remove(&(u32::from(addresses.pod) - u32::from(self.subnet.base())));
    }

    /// The offset of the first pod: below it live the control plane's components.
    fn first(subnet: Subnet) -> u32 {
        (subnet.half() / 4).min(256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_lies_within_loopback_and_leaves_localhost_alone() {
        for good in ["127.64.0.0/10", "127.80.1.0/24", "127.128.0.0/9", "127.64.0.9/16"] {
            assert!(good.parse::<Subnet>().is_ok(), "{good}");
        }
        for bad in [
            "127.0.0.0/8",
            "127.0.0.0/16",
            "10.0.0.0/16",
            "127.64.0.0/25",
            "127.64.0.0",
            "x",
        ] {
            let error = bad.parse::<Subnet>().unwrap_err();
            assert!(error.contains("such as 127.80.0.0/16"), "{error}");
        }
    }

    #[test]
    fn components_and_pods_have_their_places() {
        let subnet: Subnet = Subnet::DEFAULT.parse().unwrap();
        assert_eq!(subnet.pilot().to_string(), "127.64.0.2");
        assert_eq!(subnet.citadel().to_string(), "127.64.0.3");
        let mut pool = AddressPool::new(subnet);
        let first = pool.allot().unwrap();
        assert_eq!(
            (first.pod.to_string(), first.app.to_string()),
            ("127.64.1.0".into(), "127.96.1.0".into())
        );
    }

    #[test]
    fn a_freed_address_comes_back_last() {
        let mut pool = AddressPool::new("127.80.0.0/24".parse().unwrap());
        let first = pool.allot().unwrap();
        pool.release(first);
        let mut count = 0;
        let last = std::iter::from_fn(|| pool.allot()).inspect(|_| count += 1).last();
        assert_eq!(last, Some(first));
        assert_eq!(count, 96, "a /24 holds 96 pods");
        assert_eq!(pool.allot(), None);
    }

    #[test]
    fn overlap_goes_both_ways() {
        let (wide, narrow): (Subnet, Subnet) = ("127.64.0.0/10".parse().unwrap(), "127.80.0.0/16".parse().unwrap());
        assert!(wide.overlaps(narrow) && narrow.overlaps(wide));
        assert!(!narrow.overlaps("127.81.0.0/16".parse().unwrap()));
    }
}
