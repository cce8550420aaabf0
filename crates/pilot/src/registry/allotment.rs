//! Addresses for ServiceEntries that have none.
//!
//! An application that dials a name needs an address that tells its sidecar which service is meant: two databases outside the mesh on one
//! port would otherwise look alike. Each such entry gets an address of networks that lead nowhere, 240.240.0.0/16 (of the reserved
//! class E) and 2001:2::/48 (for benchmarks). A hash of namespace and host decides, so every replica of pilot gives the same
//! one, and keeps it over restarts; who comes later finds a taken place and steps on.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::mesh::{Resolution, Service};

/// Places in 240.240.0.1 … 240.240.254.254: no octet of the last two is 0 in the last, or 255.
const PLACES: u32 = 255 * 254;
/// The greatest prime below: each step derived from it meets every place.
const STEP: u32 = 64_763;

/// Whether a service may be given an address: with resolution NONE the address that the client dials is the destination itself, and a
/// wildcard is no host.
pub(super) fn is_eligible(service: &Service) -> bool {
    service.address.is_none() && service.resolution != Resolution::Passthrough && !service.hostname.is_wildcard()
}

/// Gives addresses, in the order of the list, to services that may have one.
pub(super) fn allot<'s>(services: impl Iterator<Item = &'s mut Service>) {
    let mut taken: HashMap<u32, String> = HashMap::new();
    for service in services {
        let key = format!("{}/{}", service.namespace, service.hostname);
        if let Some(place) = place(&key, &taken) {
            service.allotted = vec![v4(place), v6(place)];
            taken.insert(place, key);
        }
    }
}

/// The place of a key: its own from an equal key, else the first free one on its path. `None` when all are taken.
fn place(key: &str, taken: &HashMap<u32, String>) -> Option<u32> {
    let hash = fnv1a(key);
    let (first, step) = (hash % PLACES, STEP - hash % STEP);
    let path = (0..PLACES).scan(first, |at, _| {
        let here = *at;
        *at = (here + step) % PLACES;
        Some(here)
    });
    let mut usable = path.filter(|place| taken.get(place).is_none_or(|owner| owner == key));
    usable.next()
}

fn v4(place: u32) -> IpAddr {
    let [.., third, fourth] = (((place / 254) << 8) | (place % 254 + 1)).to_be_bytes();
    Ipv4Addr::new(240, 240, third, fourth).into()
}

fn v6(place: u32) -> IpAddr {
    let [.., third, fourth] = (((place / 254) << 8) | (place % 254 + 1)).to_be_bytes();
    Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0xf0f0, u16::from_be_bytes([third, fourth])).into()
}

/// FNV-1a of 32 bits: the same on every machine and in every version.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn fnv_is_the_published_one() {
        for (text, hash) in [("", 0x811c_9dc5), ("a", 0xe40c_292c), ("foobar", 0xbf9c_f968)] {
            assert_eq!(fnv1a(text), hash, "{text}");
        }
    }

    #[test]
    fn every_place_is_another_address_of_the_network() {
        let all: HashSet<IpAddr> = (0..PLACES).map(v4).collect();
        assert_eq!(all.len(), PLACES as usize);
        assert_eq!(
            (v4(0), v4(PLACES - 1)),
            ([240, 240, 0, 1].into(), [240, 240, 254, 254].into())
        );
        assert_eq!(v6(0).to_string(), "2001:2::f0f0:1");
    }

    #[test]
    fn taken_places_are_stepped_over_and_equal_keys_share() {
        let mut taken = HashMap::new();
        let first = place("default/a.example.com", &taken).unwrap();
        taken.insert(first, "default/a.example.com".to_owned());
        assert_eq!(place("default/a.example.com", &taken), Some(first));
        taken.insert(first, "somebody else".to_owned());
        let second = place("default/a.example.com", &taken).unwrap();
        assert_ne!(second, first);
        let full = (0..PLACES).map(|place| (place, String::new())).collect();
        assert_eq!(place("default/a.example.com", &full), None);
    }
}
