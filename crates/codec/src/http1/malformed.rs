//! Why a message was refused.

/// What is wrong with a message. Where the next one begins is not known any more: its connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    #[error("a line ended by a line feed alone (RFC 9112 §2.2)")]
    BareLineFeed,
    #[error("empty lines before the first line (RFC 9112 §2.2)")]
    EmptyLines,
    #[error("what came is no HTTP/1 message (RFC 9112 §2.1)")]
    NotHttp,
    #[error("a request line is a method, a target and a version with one space between them (RFC 9112 §3)")]
    RequestLine,
    #[error("a method is a token (RFC 9110 §9.1)")]
    Method,
    #[error("the request target is no path, URI or authority (RFC 9112 §3.2)")]
    Target,
    #[error("a version other than HTTP/1.0 and HTTP/1.1 (RFC 9112 §2.3)")]
    Version,
    #[error("a status line is a version, a status of three digits and a reason (RFC 9112 §4)")]
    StatusLine,
    #[error("a field name is a token with a colon right behind it (RFC 9112 §5.1)")]
    FieldName,
    #[error("a control character in a field value (RFC 9110 §5.5)")]
    FieldValue,
    #[error("a field on more than one line (RFC 9112 §5.2)")]
    Folded,
    #[error("a head of more bytes than allowed")]
    HeadTooLong,
    #[error("more fields than allowed")]
    TooManyFields,
    #[error("a content-length that is no number of bytes (RFC 9110 §8.6)")]
    ContentLength,
    #[error("more than one content-length (RFC 9112 §6.3)")]
    ContentLengths,
    #[error("both content-length and transfer-encoding (RFC 9112 §6.3)")]
    TwoFramings,
    #[error("a transfer coding other than `chunked` (RFC 9112 §6.1)")]
    TransferCoding,
    #[error("a transfer-encoding in HTTP/1.0 (RFC 9112 §6.1)")]
    TransferCodingInHttp10,
    #[error("a body where there can be none (RFC 9112 §6.3)")]
    BodyNotAllowed,
    #[error("a chunk size is at most 16 hexadecimal digits (RFC 9112 §7.1)")]
    ChunkSize,
    #[error("chunk extensions of more bytes than allowed (RFC 9112 §7.1.1)")]
    ChunkExtension,
    #[error("a chunk that does not end where its size says (RFC 9112 §7.1)")]
    ChunkEnd,
    #[error("trailers of more bytes than allowed")]
    TrailersTooLong,
    #[error("more trailers than allowed")]
    TooManyTrailers,
    #[error("a trailer that says where a message ends, or where it goes to (RFC 9110 §6.5.1)")]
    ForbiddenTrailer,
    #[error("the connection was closed before the body's end (RFC 9112 §8)")]
    CutOff,
}

impl Malformed {
    /// The status that a client is told if it was its request. (A response that is malformed is a 502, whatever is wrong with it.)
    pub fn status(self) -> u16 {
        match self {
            Malformed::HeadTooLong
            | Malformed::TooManyFields
            | Malformed::TrailersTooLong
            | Malformed::TooManyTrailers => 431,
            Malformed::TransferCoding => 501,
            _ => 400,
        }
    }

    /// Envoy's response code details for it.
    pub fn details(self) -> &'static str {
        match self {
            Malformed::HeadTooLong => "http1.headers_too_large",
            Malformed::TooManyFields => "http1.too_many_headers",
            Malformed::TrailersTooLong => "http1.trailers_too_large",
            Malformed::TooManyTrailers => "http1.too_many_trailers",
            Malformed::FieldValue => "http1.invalid_characters",
            Malformed::Target => "http1.invalid_url",
            Malformed::TwoFramings => "http1.content_length_and_chunked_not_allowed",
            Malformed::TransferCoding => "http1.invalid_transfer_encoding",
            Malformed::TransferCodingInHttp10 => "http1.transfer_encoding_not_allowed",
            Malformed::BodyNotAllowed => "http1.body_disallowed",
            _ => "http1.codec_error",
        }
    }
}
