//! Queries read and answers written.

use std::ops::Range;

use simple_dns::rdata::{A, AAAA, CNAME, OPT, RData};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

use super::names::Found;

/// Seconds an answer may be kept: short, since services come and go.
const TTL: u32 = 30;
/// What a client that says nothing takes over UDP.
const MIN_UDP: usize = 512;
/// What is sent over UDP at most: more would leave in fragments.
const MAX_UDP: usize = 4096;
/// A message over TCP has a length of two bytes.
const MAX_TCP: usize = 65_535;
const HEADER: usize = 12;
/// A record whose name is a pointer: A takes 16 bytes, AAAA 28.
const MAX_ADDRESS_RECORD: usize = 28;
/// Additional records of a query: EDNS, a signature, and some.
const MAX_ADDITIONAL: u16 = 8;

/// How a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What is done with a message.
#[derive(Debug)]
pub(super) enum Reading<'m> {
    /// No query: nothing is said to it.
    Ignore,
    /// Refused; this is the answer.
    Refuse(Vec<u8>),
    Query(Query<'m>),
}

#[derive(Debug)]
pub(super) struct Query<'m> {
    question: Question<'m>,
    id: u16,
    recursion: bool,
    edns: bool,
    /// Longest answer the client takes, in bytes.
    limit: usize,
    /// Lower case, without the final dot.
    pub(super) name: String,
}

/// Reads a message that should be a query of one question, which is all that resolvers ever send.
pub(super) fn read(bytes: &[u8], transport: Transport) -> Reading<'_> {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Reading::Ignore;
    };
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if count(2) & PacketFlag::RESPONSE.bits() != 0 {
        return Reading::Ignore;
    }
    // Judged before anything is reserved for that many records.
    if count(4) != 1 || count(6) != 0 || count(8) != 0 || count(10) > MAX_ADDITIONAL {
        return Reading::Refuse(refusal(bytes, RCODE::FormatError));
    }
    let Ok(mut packet) = Packet::parse(bytes) else {
        return Reading::Refuse(refusal(bytes, RCODE::FormatError));
    };
    if packet.opcode() != OPCODE::StandardQuery {
        return Reading::Refuse(refusal(bytes, RCODE::NotImplemented));
    }
    let offered = packet.opt().map(|opt| usize::from(opt.udp_packet_size));
    let Some(question) = packet.questions.pop() else {
        return Reading::Refuse(refusal(bytes, RCODE::FormatError));
    };
    Reading::Query(Query {
        name: question.qname.to_string().to_ascii_lowercase(),
        id: packet.id(),
        recursion: packet.has_flags(PacketFlag::RECURSION_DESIRED),
        edns: offered.is_some(),
        limit: match transport {
            Transport::Udp => offered.unwrap_or(MIN_UDP).clamp(MIN_UDP, MAX_UDP),
            Transport::Tcp => MAX_TCP,
        },
        question,
    })
}

/// An answer without content. What of the query can be trusted is the identifier and the way it was asked.
pub(super) fn refusal(query: &[u8], code: RCODE) -> Vec<u8> {
    let mut answer = vec![0; HEADER];
    let copied = query.len().min(4);
    answer[..copied].copy_from_slice(&query[..copied]);
    answer[2] = (answer[2] & 0b0111_1001) | 0b1000_0000;
    answer[3] = 0b1000_0000 | (code as u8 & 0xf);
    // With the question, where there is one: clients compare it.
    if let Some(question) = question(query) {
        answer[5] = 1;
        answer.extend_from_slice(&query[question]);
    }
    answer
}

/// Where the first question lies in a message. Names in questions are never compressed.
pub(super) fn question(message: &[u8]) -> Option<Range<usize>> {
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        match length {
            0 => break,
            1..=63 => at += length,
            _ => return None,
        }
    }
    let end = at + 4;
    (end <= message.len() && end - HEADER <= 255 + 4).then_some(HEADER..end)
}

// === impl Query ===

impl Query<'_> {
    /// What the table has for this question; `None`: it is for others to answer.
    ///
    /// Of a name of the mesh only addresses are known. A name that has none of the family asked for is answered without
    /// content and not as unknown: clients ask for both families at once, and would take the one answer for both.
    pub(super) fn answer(&self, found: &Found<'_>) -> Option<Vec<u8>> {
        if self.question.qclass != QCLASS::CLASS(CLASS::IN) {
            return None;
        }
        let mut data: Vec<RData<'_>> = match self.question.qtype {
            QTYPE::TYPE(TYPE::A) => found.v4.iter().map(|ip| RData::A(A::from(*ip))).collect(),
            QTYPE::TYPE(TYPE::AAAA) => found.v6.iter().map(|ip| RData::AAAA(AAAA::from(*ip))).collect(),
            _ => return None,
        };
        fastrand::shuffle(&mut data);
        let target = match &found.target {
            Some(target) => Some(Name::new(target).ok()?),
            None => None,
        };
        let mut records = Vec::with_capacity(data.len() + 1);
        if let (Some(target), false) = (&target, data.is_empty()) {
            let alias = RData::CNAME(CNAME(target.clone()));
            records.push(self.record(self.question.qname.clone(), alias));
        }
        let owner = target.as_ref().unwrap_or(&self.question.qname);
        records.extend(data.into_iter().map(|data| self.record(owner.clone(), data)));
        self.fitting(records)
    }

    fn record<'r>(&self, owner: Name<'r>, data: RData<'r>) -> ResourceRecord<'r> {
        ResourceRecord::new(owner, CLASS::IN, TTL, data)
    }

    /// As many records as the client takes; it is told when some are missing.
    fn fitting<'r>(&'r self, records: Vec<ResourceRecord<'r>>) -> Option<Vec<u8>> {
        let mut packet = Packet::new_reply(self.id);
        packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE);
        if self.recursion {
            packet.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        if self.edns {
            *packet.opt_mut() = Some(OPT {
                opt_codes: Vec::new(),
                udp_packet_size: MAX_UDP as u16,
                version: 0,
            });
        }
        packet.questions.push(self.question.clone());
        packet.answers = records;
        loop {
            let bytes = packet.build_bytes_vec_compressed().ok()?;
            if bytes.len() <= self.limit || packet.answers.is_empty() {
                return Some(bytes);
            }
            let excess = (bytes.len() - self.limit).div_ceil(MAX_ADDRESS_RECORD).max(1);
            packet.answers.truncate(packet.answers.len().saturating_sub(excess));
            packet.set_flags(PacketFlag::TRUNCATION);
        }
    }

    /// What a resolver answered, if the client takes that much; else an empty answer that says so.
    pub(super) fn passed_on(&self, mut answer: Vec<u8>) -> Vec<u8> {
        if answer.len() > self.limit {
            let end = question(&answer).map_or(HEADER, |question| question.end);
            answer.truncate(end);
            answer[2] |= 0b0000_0010;
            answer[6..HEADER].fill(0);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn asked(name: &str, kind: TYPE, udp_size: Option<u16>) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(Question::new(
            Name::new(name).unwrap(),
            kind.into(),
            CLASS::IN.into(),
            false,
        ));
        *packet.opt_mut() = udp_size.map(|udp_packet_size| OPT {
            opt_codes: Vec::new(),
            udp_packet_size,
            version: 0,
        });
        packet.build_bytes_vec().unwrap()
    }

    fn query(bytes: &[u8], transport: Transport) -> Query<'_> {
        match read(bytes, transport) {
            Reading::Query(query) => query,
            other => panic!("{other:?}"),
        }
    }

    fn addresses(n: u8) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
        let v4 = (0..n).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect();
        (v4, vec![Ipv6Addr::LOCALHOST])
    }

    /// Names of owners and types, in order.
    fn told(answer: &[u8]) -> Vec<String> {
        let packet = Packet::parse(answer).unwrap();
        let told =
            |record: &ResourceRecord<'_>| format!("{} {:?} {}", record.name, record.rdata.type_code(), record.ttl);
        packet.answers.iter().map(told).collect()
    }

    #[test]
    fn addresses_are_answered_by_family_and_anything_else_is_not_ours() {
        let (v4, v6) = addresses(2);
        let found = Found {
            v4: &v4,
            v6: &v6,
            target: None,
        };
        let none = Found {
            v4: &v4,
            v6: &[],
            target: None,
        };
        let cases = [
            (TYPE::A, &found, Some(2)),
            (TYPE::AAAA, &found, Some(1)),
            (TYPE::AAAA, &none, Some(0)),
            (TYPE::MX, &found, None),
            (TYPE::Unknown(65), &found, None),
        ];
        for (kind, found, expected) in cases {
            let bytes = asked("Reviews.default", kind, None);
            let query = query(&bytes, Transport::Udp);
            assert_eq!(query.name, "reviews.default");
            let answer = query.answer(found);
            assert_eq!(answer.as_ref().map(|answer| told(answer).len()), expected, "{kind:?}");
            let Some(answer) = answer else { continue };
            let packet = Packet::parse(&answer).unwrap();
            assert_eq!((packet.id(), packet.rcode()), (7, RCODE::NoError));
            assert!(
                packet
                    .has_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED)
            );
            assert_eq!(
                packet.questions[0].qname.to_string(),
                "Reviews.default",
                "as it was asked"
            );
        }
    }

    #[test]
    fn an_alias_is_followed_in_the_answer() {
        let (v4, v6) = addresses(1);
        let found = Found {
            v4: &v4,
            v6: &v6,
            target: Some("api.io".into()),
        };
        let bytes = asked("api.io.ns.svc", TYPE::A, None);
        let answer = query(&bytes, Transport::Udp).answer(&found).unwrap();
        assert_eq!(told(&answer), ["api.io.ns.svc CNAME 30", "api.io A 30"]);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let (v4, v6) = addresses(200);
        let found = Found {
            v4: &v4,
            v6: &v6,
            target: None,
        };
        let cases = [
            (None, Transport::Udp, 512, true),
            (Some(1232), Transport::Udp, 1232, true),
            (Some(100), Transport::Udp, 512, true),
            (Some(65_000), Transport::Udp, 4096, false),
            (None, Transport::Tcp, 65_535, false),
        ];
        for (size, transport, limit, truncated) in cases {
            let bytes = asked("many.io", TYPE::A, size);
            let answer = query(&bytes, transport).answer(&found).unwrap();
            let packet = Packet::parse(&answer).unwrap();
            assert!(
                answer.len() <= limit && answer.len() > limit.min(3200) - 64,
                "{size:?}: {}",
                answer.len()
            );
            assert_eq!(packet.has_flags(PacketFlag::TRUNCATION), truncated, "{size:?}");
            assert_eq!(packet.opt().is_some(), size.is_some());
        }
    }

    #[test]
    fn addresses_take_turns() {
        let (v4, v6) = addresses(2);
        let found = Found {
            v4: &v4,
            v6: &v6,
            target: None,
        };
        let bytes = asked("two.io", TYPE::A, None);
        let first = |_| {
            let answer = query(&bytes, Transport::Udp).answer(&found).unwrap();
            format!("{:?}", Packet::parse(&answer).unwrap().answers[0].rdata)
        };
        let firsts: std::collections::HashSet<String> = (0..64).map(first).collect();
        assert_eq!(firsts.len(), 2);
    }

    #[test]
    fn what_is_no_query_is_refused_or_ignored() {
        let good = asked("a.io", TYPE::A, None);
        let change = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        let code = |bytes: &[u8]| match read(bytes, Transport::Udp) {
            Reading::Ignore => "ignored".to_owned(),
            Reading::Query(query) => query.name,
            Reading::Refuse(answer) => {
                let packet = Packet::parse(&answer).unwrap();
                assert!(packet.has_flags(PacketFlag::RESPONSE) && packet.id() == 7);
                format!("{:?}", packet.rcode())
            }
        };
        let cases = [
            (good.clone(), "a.io"),
            (good[..11].to_vec(), "ignored"),
            (change(2, 0x80), "ignored"),
            (change(2, 0x10), "NotImplemented"),
            (change(5, 0), "FormatError"),
            (change(5, 2), "FormatError"),
            (change(7, 1), "FormatError"),
            (change(10, 255), "FormatError"),
            (change(12, 0xc0), "FormatError"),
            (good[..good.len() - 1].to_vec(), "FormatError"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(code(&bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn no_bytes_are_a_panic() {
        let good = asked("a.very.long.name.example.com", TYPE::A, Some(1232));
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(..=bytes.len()));
            if let Reading::Query(query) = read(&bytes, Transport::Udp) {
                let found = Found {
                    v4: &[Ipv4Addr::LOCALHOST],
                    v6: &[],
                    target: None,
                };
                let _ = query.answer(&found);
                let _ = query.passed_on(bytes.clone().into_iter().chain([0; 600]).collect());
            }
        }
    }
}
