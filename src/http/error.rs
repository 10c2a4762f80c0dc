//! Why a request is refused. Small and `Copy`; each knows its status. Nothing is written here.

use super::status::Status;
use crate::stats::Limit;

/// A fault of the peer or, with 503, what the server lacks for it. Each closes the connection once it has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A line that ends without CR (RFC 9112 §2.2; strict).
    BareLineFeed,
    /// More than two empty lines before a request line (RFC 9112 §2.2).
    EmptyLines,
    /// A head that is not one (RFC 9112 §2, §3, §5).
    Head,
    /// A method that is no token, or a request line without one (RFC 9112 §3.1).
    Method,
    /// A target that is none of the four forms, or not for this method (RFC 9112 §3.2).
    Target,
    /// A Host that is missing, doubled or malformed (RFC 9112 §3.2).
    Host,
    /// A trusted proxy's field about forwarding that is malformed (RFC 7239 §4).
    Forwarded,
    /// `Forwarded` and the `X-Forwarded-` fields of a trusted proxy do not say the same.
    ForwardedDiffers,
    /// A trusted proxy's connection that does not begin with a header of the PROXY protocol. It is closed without the
    /// answer that this error would have: who did not keep to one protocol may not speak the other.
    ProxyHeader,
    /// A Content-Length that is not one number (RFC 9112 §6.3).
    ContentLength,
    /// A Transfer-Encoding that does not end in one `chunked` (RFC 9112 §6.1).
    TransferEncoding,
    /// Content-Length and Transfer-Encoding in one request (RFC 9112 §6.3).
    BothFramings,
    /// A chunk size, extension or end that is not exactly one (RFC 9112 §7.1).
    Chunk,
    /// Chunk extensions past the limit (RFC 9112 §7.1.1).
    ChunkExtensions,
    /// Chunks that are mostly framing.
    ChunkOverhead,
    /// A trailer that is malformed or not allowed there (RFC 9110 §6.5.1).
    Trailer,
    /// A trailer past the limit.
    TrailerTooLarge,
    /// More trailer fields than the limit.
    TooManyTrailers,
    /// The head was not complete in time (408).
    HeadTimeout,
    /// The body made no progress in time (408).
    BodyTimeout,
    /// The body came too slowly (408).
    BodyRate,
    /// A body past the limit (413).
    BodyTooLarge,
    /// A request line past the limit (414).
    RequestLineTooLong,
    /// An expectation other than `100-continue` (417).
    Expectation,
    /// A head past the limit (431, RFC 6585 §5).
    HeadTooLarge,
    /// More fields than the limit (431).
    TooManyFields,
    /// A method of more than 32 bytes (501).
    MethodTooLong,
    /// CONNECT or TRACE (501).
    MethodNotImplemented,
    /// A transfer coding that is not known (501, RFC 9112 §6.1).
    TransferCoding,
    /// The server is short of blocks for requests that come in pieces (503).
    Blocks,
    /// The server is short of memory for bodies (503).
    Bodies,
    /// A large body could not be spooled (503).
    Spool,
    /// A version other than 1.0 and 1.1 (505).
    Version,
}

impl Error {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Error::BareLineFeed
            | Error::EmptyLines
            | Error::Head
            | Error::Method
            | Error::Target
            | Error::Host
            | Error::Forwarded
            | Error::ForwardedDiffers
            | Error::ProxyHeader
            | Error::ContentLength
            | Error::TransferEncoding
            | Error::BothFramings
            | Error::Chunk
            | Error::ChunkExtensions
            | Error::ChunkOverhead
            | Error::Trailer
            | Error::TrailerTooLarge
            | Error::TooManyTrailers => Status::BAD_REQUEST,
            Error::HeadTimeout | Error::BodyTimeout | Error::BodyRate => Status::REQUEST_TIMEOUT,
            Error::BodyTooLarge => Status::CONTENT_TOO_LARGE,
            Error::RequestLineTooLong => Status::URI_TOO_LONG,
            Error::Expectation => Status::EXPECTATION_FAILED,
            Error::HeadTooLarge | Error::TooManyFields => Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Error::MethodTooLong | Error::MethodNotImplemented | Error::TransferCoding => Status::NOT_IMPLEMENTED,
            Error::Blocks | Error::Bodies | Error::Spool => Status::SERVICE_UNAVAILABLE,
            Error::Version => Status::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// One sentence for the body of the answer.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Error::BareLineFeed => "A line must end with CR LF.",
            Error::EmptyLines => "There are too many empty lines before the request line.",
            Error::Head => "The head of the request is malformed.",
            Error::Method => "The method is malformed.",
            Error::Target => "The request target is malformed or does not fit the method.",
            Error::Host => "The request must name one well-formed host.",
            Error::Forwarded => "What a proxy says of the request in Forwarded or X-Forwarded is malformed.",
            Error::ForwardedDiffers => "Forwarded and the X-Forwarded fields must say the same.",
            Error::ProxyHeader => "The connection must begin with a PROXY header.",
            Error::ContentLength => "Content-Length must be one number.",
            Error::TransferEncoding => "Transfer-Encoding must be exactly: chunked.",
            Error::BothFramings => "Content-Length and Transfer-Encoding exclude each other.",
            Error::Chunk => "A chunk is malformed.",
            Error::ChunkExtensions => "The chunk extensions are larger than this server takes.",
            Error::ChunkOverhead => "The chunks are too small for what they carry.",
            Error::Trailer => "A trailer field is malformed or not allowed.",
            Error::TrailerTooLarge => "The trailer is larger than this server takes.",
            Error::TooManyTrailers => "There are more trailer fields than this server takes.",
            Error::HeadTimeout => "The head of the request did not arrive in time.",
            Error::BodyTimeout => "The body of the request did not arrive in time.",
            Error::BodyRate => "The body of the request arrived too slowly.",
            Error::BodyTooLarge => "The body is larger than this server takes.",
            Error::RequestLineTooLong => "The request line is longer than this server takes.",
            Error::Expectation => "The expectation is not known.",
            Error::HeadTooLarge => "The head is larger than this server takes.",
            Error::TooManyFields => "There are more fields than this server takes.",
            Error::MethodTooLong => "The method is longer than this server takes.",
            Error::MethodNotImplemented => "The method is not implemented.",
            Error::TransferCoding => "The transfer coding is not known.",
            Error::Blocks => "The server is short of memory; try again.",
            Error::Bodies => "The server is short of memory for bodies; try again.",
            Error::Spool => "The server has no room for the body; try again.",
            Error::Version => "The version must be HTTP/1.1 or HTTP/1.0.",
        }
    }

    /// The limit that was met, where it was one.
    #[must_use]
    pub const fn limit(self) -> Option<Limit> {
        Some(match self {
            Error::ChunkExtensions => Limit::ChunkExtensions,
            Error::ChunkOverhead => Limit::ChunkOverhead,
            Error::TrailerTooLarge => Limit::Trailer,
            Error::TooManyTrailers => Limit::Trailers,
            Error::HeadTimeout => Limit::HeadTimeout,
            Error::BodyTimeout => Limit::BodyIdle,
            Error::BodyRate => Limit::Rate,
            Error::BodyTooLarge => Limit::Body,
            Error::RequestLineTooLong => Limit::RequestLine,
            Error::HeadTooLarge => Limit::Head,
            Error::TooManyFields => Limit::Fields,
            Error::Blocks => Limit::Blocks,
            Error::Bodies => Limit::Bodies,
            Error::Spool => Limit::Spool,
            Error::BareLineFeed
            | Error::EmptyLines
            | Error::Head
            | Error::Method
            | Error::Target
            | Error::Host
            | Error::Forwarded
            | Error::ForwardedDiffers
            | Error::ProxyHeader
            | Error::ContentLength
            | Error::TransferEncoding
            | Error::BothFramings
            | Error::Chunk
            | Error::Trailer
            | Error::Expectation
            | Error::MethodTooLong
            | Error::MethodNotImplemented
            | Error::TransferCoding
            | Error::Version => return None,
        })
    }
}
