//! The examples of RFC 7541, Appendix C, and both sides against each other.

use super::*;

/// Keeps fields as text.
#[derive(Default)]
struct Fields {
    text: Vec<u8>,
    fields: Vec<(String, String)>,
    secrets: usize,
}

impl FieldSink for Fields {
    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    fn take(&mut self, field: Field) {
        let (name, value) = self.text[field.at..].split_at(field.name);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.fields.push((text(name), text(value)));
        self.secrets += usize::from(field.secret);
        self.text.truncate(field.at);
    }

    fn is_full(&self) -> bool {
        false
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("hex");
    digits.chunks(2).map(pair).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, String)> {
    let mut fields = Fields::default();
    decoder.decode(block, &mut fields).expect("a good block");
    fields.fields
}

fn check(limit: usize, blocks: &[(&str, &[(&str, &str)])]) {
    let mut decoder = Decoder::new(limit);
    for (block, expected) in blocks {
        let got = decode(&mut decoder, &hex(block));
        let got: Vec<_> = got.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(got, *expected, "{block}");
    }
}

const FIRST_REQUEST: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
];
const SECOND_REQUEST: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD_REQUEST: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];
const FIRST_RESPONSE: &[(&str, &str)] = &[
    (":status", "302"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
];
const SECOND_RESPONSE: &[(&str, &str)] = &[
    (":status", "307"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
];
const THIRD_RESPONSE: &[(&str, &str)] = &[
    (":status", "200"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    ("location", "https://www.example.com"),
    ("content-encoding", "gzip"),
    ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
];

#[test]
fn single_fields() {
    check(
        4096,
        &[
            (
                "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
                &[("custom-key", "custom-header")],
            ),
            ("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")]),
            ("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")]),
            ("82", &[(":method", "GET")]),
        ],
    );
}

#[test]
fn requests_without_and_with_huffman_code() {
    check(
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST_REQUEST),
            ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND_REQUEST),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                THIRD_REQUEST,
            ),
        ],
    );
    check(
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST_REQUEST),
            ("8286 84be 5886 a8eb 1064 9cbf", SECOND_REQUEST),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                THIRD_REQUEST,
            ),
        ],
    );
}

#[test]
fn responses_with_evictions() {
    check(
        256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d \
                 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                FIRST_RESPONSE,
            ),
            ("4803 3330 37c1 c0bf", SECOND_RESPONSE),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f \
                 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b \
                 2076 6572 7369 6f6e 3d31",
                THIRD_RESPONSE,
            ),
        ],
    );
    check(
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 \
                 8f0b 97c8 e9ae 82ae 43d3",
                FIRST_RESPONSE,
            ),
            ("4883 640e ffc1 c0bf", SECOND_RESPONSE),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 \
                 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                THIRD_RESPONSE,
            ),
        ],
    );
}

#[test]
fn blocks_that_end_a_connection() {
    for (block, why) in [
        ("80", "index 0"),
        ("be", "an entry that is not there"),
        ("ff ffff ffff ffff 7f", "an index without end"),
        ("7f", "a name's index cut off"),
        ("40 0a 6375", "a name cut off"),
        ("40 01 61 05 6162", "a value cut off"),
        ("00 81 ff 01 61", "a name that is no Huffman code"),
        ("3f e2 1f", "a table of 4097"),
        ("82 20", "a table size behind a field"),
        ("50 61", "an entry's name that is not there"),
    ] {
        let mut fields = Fields::default();
        let error = Decoder::new(4096).decode(&hex(block), &mut fields);
        let code = error.expect_err(why).code;
        assert_eq!(code, crate::http2::ErrorCode::COMPRESSION_ERROR, "{why}");
    }
}

#[test]
fn what_repeats_is_indexed_and_what_is_secret_is_not() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let mut sizes = Vec::new();
    for n in 0..4 {
        let trace = format!("00-{n:032x}-{n:016x}-01");
        let mut block = Vec::new();
        encoder.begin(&mut block);
        encoder.method("POST", &mut block);
        encoder.path("/hello.Greeter/SayHello", &mut block);
        encoder.field(b"user-agent", b"grpc-go/1.71.0", false, &mut block);
        encoder.field(b"x-tenant", b"4711", false, &mut block);
        encoder.field(b"traceparent", trace.as_bytes(), false, &mut block);
        encoder.field(b"authorization", b"Bearer 1", false, &mut block);
        encoder.field(b"x-key", b"k", true, &mut block);
        encoder.field(b"connection", b"close", false, &mut block);
        encoder.field(b"te", b"trailers", false, &mut block);
        sizes.push(block.len());
        let mut fields = Fields::default();
        decoder.decode(&block, &mut fields).expect("our own block");
        assert_eq!(fields.secrets, 2);
        let names: Vec<_> = fields.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                ":method",
                ":path",
                "user-agent",
                "x-tenant",
                "traceparent",
                "authorization",
                "x-key",
                "te"
            ]
        );
        assert!(fields.fields[4].1 == trace && fields.fields[5].1 == "Bearer 1");
    }
    // Everything but the trace (57) and the secrets takes a byte in the end.
    assert!(
        sizes.is_sorted_by(|a, b| a >= b) && sizes[3] < 90 && sizes[0] > 150,
        "{sizes:?}"
    );
}

#[test]
fn a_table_size_of_the_peer_is_confirmed_with_the_next_block() {
    let mut encoder = Encoder::new();
    let mut block = Vec::new();
    encoder.set_limit(0);
    encoder.set_limit(100);
    encoder.begin(&mut block);
    encoder.begin(&mut block);
    assert_eq!(block, hex("20 3f45"));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("content-type".to_owned()),
            Just("traceparent".to_owned()),
            Just("x-a".to_owned()),
            Just("x-b".to_owned()),
            Just("authorization".to_owned()),
            "[a-z][a-z0-9-]{0,40}",
        ]
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![Just("same".to_owned()), Just("other".to_owned()), "[!-~]{0,300}"]
    }

    /// A table size that is set before, and fields of which some are secret.
    type Block = (Option<u32>, Vec<(String, String, bool)>);

    fn blocks() -> impl Strategy<Value = Vec<Block>> {
        let fields = proptest::collection::vec((name(), value(), any::<bool>()), 0..20);
        proptest::collection::vec((proptest::option::weighted(0.1, 0..5000u32), fields), 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Over many blocks, with table sizes that change: what goes in comes out, and both tables stay the same.
        #[test]
        fn both_sides_stay_in_step(blocks in blocks()) {
            let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
            for (limit, fields) in blocks {
                if let Some(limit) = limit {
                    encoder.set_limit(limit);
                }
                let mut block = Vec::new();
                encoder.begin(&mut block);
                let mut expected = Vec::new();
                for (name, value, secret) in &fields {
                    encoder.field(name.as_bytes(), value.as_bytes(), *secret, &mut block);
                    if !matches!(Kind::of(name.as_bytes()), Kind::Hop | Kind::Host | Kind::Te) {
                        expected.push((name.clone(), value.clone()));
                    }
                }
                prop_assert_eq!(decode(&mut decoder, &block), expected);
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut fields = Fields::default();
            let _ = Decoder::new(4096).decode(&block, &mut fields);
        }

        #[test]
        fn huffman_code_comes_back(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut coded, mut again) = (Vec::new(), Vec::new());
            crate::http2::huffman::encode(&text, &mut coded);
            prop_assert!(crate::http2::huffman::decode(&coded, &mut again).is_some());
            prop_assert_eq!(again, text);
        }
    }
}
