//! Status codes (RFC 9110 §15, and those registered since), with their status lines ready to be copied.
//! Only final codes: an interim response belongs to the server. Nothing is allocated here.

/// A final status code, 200 to 999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(u16);

impl Status {
    /// A status from its code, `None` outside 200 to 999.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Status> {
        if code >= 200 && code <= 999 { Some(Status(code)) } else { None }
    }

    /// The code.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// Whether a response with it has no body at all (RFC 9110 §6.4.1).
    #[must_use]
    pub const fn is_bodiless(self) -> bool {
        matches!(self.0, 204 | 304)
    }

    /// Whether a response with it has no content: none that is framed at all, or, behind a 205, a length of 0 (RFC 9110
    /// §15.3.6).
    #[must_use]
    pub const fn forbids_content(self) -> bool {
        self.is_bodiless() || self.0 == Status::RESET_CONTENT.0
    }

    /// The registered reason phrase, empty for another code.
    #[must_use]
    pub fn reason_phrase(self) -> &'static str {
        self.line().and_then(|line| line.get(13..line.len() - 2)).unwrap_or_default()
    }
}

macro_rules! statuses {
    ($($name:ident = $code:literal $phrase:literal;)*) => {
        impl Status {
            $(
                #[doc = concat!(stringify!($code), " ", $phrase, ".")]
                pub const $name: Status = Status($code);
            )*

            /// The status line of a registered code, CRLF included.
            pub(crate) fn line(self) -> Option<&'static str> {
                Some(match self.0 {
                    $($code => concat!("HTTP/1.1 ", stringify!($code), " ", $phrase, "\r\n"),)*
                    _ => return None,
                })
            }
        }
    };
}

statuses! {
    OK = 200 "OK";
    CREATED = 201 "Created";
    ACCEPTED = 202 "Accepted";
    NON_AUTHORITATIVE_INFORMATION = 203 "Non-Authoritative Information";
    NO_CONTENT = 204 "No Content";
    RESET_CONTENT = 205 "Reset Content";
    PARTIAL_CONTENT = 206 "Partial Content";
    MULTI_STATUS = 207 "Multi-Status";
    ALREADY_REPORTED = 208 "Already Reported";
    IM_USED = 226 "IM Used";
    MULTIPLE_CHOICES = 300 "Multiple Choices";
    MOVED_PERMANENTLY = 301 "Moved Permanently";
    FOUND = 302 "Found";
    SEE_OTHER = 303 "See Other";
    NOT_MODIFIED = 304 "Not Modified";
    USE_PROXY = 305 "Use Proxy";
    TEMPORARY_REDIRECT = 307 "Temporary Redirect";
    PERMANENT_REDIRECT = 308 "Permanent Redirect";
    BAD_REQUEST = 400 "Bad Request";
    UNAUTHORIZED = 401 "Unauthorized";
    PAYMENT_REQUIRED = 402 "Payment Required";
    FORBIDDEN = 403 "Forbidden";
    NOT_FOUND = 404 "Not Found";
    METHOD_NOT_ALLOWED = 405 "Method Not Allowed";
    NOT_ACCEPTABLE = 406 "Not Acceptable";
    PROXY_AUTHENTICATION_REQUIRED = 407 "Proxy Authentication Required";
    REQUEST_TIMEOUT = 408 "Request Timeout";
    CONFLICT = 409 "Conflict";
    GONE = 410 "Gone";
    LENGTH_REQUIRED = 411 "Length Required";
    PRECONDITION_FAILED = 412 "Precondition Failed";
    CONTENT_TOO_LARGE = 413 "Content Too Large";
    URI_TOO_LONG = 414 "URI Too Long";
    UNSUPPORTED_MEDIA_TYPE = 415 "Unsupported Media Type";
    RANGE_NOT_SATISFIABLE = 416 "Range Not Satisfiable";
    EXPECTATION_FAILED = 417 "Expectation Failed";
    MISDIRECTED_REQUEST = 421 "Misdirected Request";
    UNPROCESSABLE_CONTENT = 422 "Unprocessable Content";
    LOCKED = 423 "Locked";
    FAILED_DEPENDENCY = 424 "Failed Dependency";
    TOO_EARLY = 425 "Too Early";
    UPGRADE_REQUIRED = 426 "Upgrade Required";
    PRECONDITION_REQUIRED = 428 "Precondition Required";
    TOO_MANY_REQUESTS = 429 "Too Many Requests";
    REQUEST_HEADER_FIELDS_TOO_LARGE = 431 "Request Header Fields Too Large";
    UNAVAILABLE_FOR_LEGAL_REASONS = 451 "Unavailable For Legal Reasons";
    INTERNAL_SERVER_ERROR = 500 "Internal Server Error";
    NOT_IMPLEMENTED = 501 "Not Implemented";
    BAD_GATEWAY = 502 "Bad Gateway";
    SERVICE_UNAVAILABLE = 503 "Service Unavailable";
    GATEWAY_TIMEOUT = 504 "Gateway Timeout";
    HTTP_VERSION_NOT_SUPPORTED = 505 "HTTP Version Not Supported";
    VARIANT_ALSO_NEGOTIATES = 506 "Variant Also Negotiates";
    INSUFFICIENT_STORAGE = 507 "Insufficient Storage";
    LOOP_DETECTED = 508 "Loop Detected";
    NETWORK_AUTHENTICATION_REQUIRED = 511 "Network Authentication Required";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_code_and_phrase() {
        assert_eq!(Status::OK.line(), Some("HTTP/1.1 200 OK\r\n"));
        assert_eq!(Status::from_code(418).map(Status::line), Some(None));
        assert_eq!(Status::NOT_FOUND.reason_phrase(), "Not Found");
        assert_eq!(Status::from_code(418).map(Status::reason_phrase), Some(""));
        assert_eq!(Status::from_code(199), None);
    }
}
