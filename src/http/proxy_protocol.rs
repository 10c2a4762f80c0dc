//! The PROXY protocol, versions 1 and 2: what a TCP proxy says of a connection before its first byte
//! (proxy-protocol.txt of HAProxy, "PP" below).
//!
//! Who may say it is decided elsewhere; here it is read, by the letter. A receiver must not guess whether a header is
//! there (PP §2): whatever is not exactly one is refused, and the connection with it. Nothing is allocated, and no
//! I/O is performed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::error::Error;

/// A header of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preface {
    /// Its bytes; what is behind them is the client's.
    pub size: usize,
    /// Who has connected.
    pub source: Source,
    /// Whether that was by TLS, which only version 2 can say.
    pub is_https: bool,
}

/// Who has connected to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody: the proxy speaks for itself, as for a health check (`LOCAL`).
    Proxy,
    /// A client whose address is not said (`UNKNOWN`, `AF_UNSPEC`), or has none (`AF_UNIX`).
    Hidden,
    /// A client at this address.
    Inet(SocketAddr),
}

/// Reads the header at the beginning of a connection. `None` where more of it must come.
///
/// # Errors
/// [`Error::ProxyHeader`] as soon as it cannot become one.
pub fn parse(bytes: &[u8]) -> Result<Option<Preface>, Error> {
    if begins(bytes, SIGNATURE) {
        parse_binary(bytes)
    } else if begins(bytes, b"PROXY ") {
        parse_line(bytes)
    } else {
        Err(Error::ProxyHeader)
    }
}

/// Whether `bytes` begin with `start`, as far as they go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let size = bytes.len().min(start.len());
    bytes.get(..size) == start.get(..size)
}

/// Version 1 (PP §2.1): a line of at most 107 bytes.
fn parse_line(bytes: &[u8]) -> Result<Option<Preface>, Error> {
    let seen = bytes.get(..LINE_SIZE_MAX).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', seen) else {
        return if seen.len() < LINE_SIZE_MAX { Ok(None) } else { Err(Error::ProxyHeader) };
    };
    let line = seen.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Error::ProxyHeader)?;
    let line = std::str::from_utf8(line).map_err(|_| Error::ProxyHeader)?;
    if line.contains('\r') {
        return Err(Error::ProxyHeader);
    }
    let mut words = line.split(' ').skip(1);
    let source = match words.next() {
        // What else such a line says is to be ignored.
        Some("UNKNOWN") => Source::Hidden,
        Some("TCP4") => source_from::<Ipv4Addr>(words)?,
        Some("TCP6") => source_from::<Ipv6Addr>(words)?,
        Some(_) | None => return Err(Error::ProxyHeader),
    };
    Ok(Some(Preface { size: end + 1, source, is_https: false }))
}

/// Source and destination address, source and destination port. The standard library reads an IPv4 address without
/// leading zeros, as the specification wants it.
fn source_from<'a, T>(mut words: impl Iterator<Item = &'a str>) -> Result<Source, Error>
where
    T: FromStr + Into<IpAddr>,
{
    let mut word = || words.next().ok_or(Error::ProxyHeader);
    let (address, destination) = (word()?, word()?);
    let (port, destination_port) = (word()?, word()?);
    let is_over = words.next().is_none();
    match (address.parse::<T>(), destination.parse::<T>(), port_from(port), port_from(destination_port)) {
        (Ok(address), Ok(_), Some(port), Some(_)) if is_over => Ok(Source::Inet((address.into(), port).into())),
        _ => Err(Error::ProxyHeader),
    }
}

/// A port in its one form: digits without a leading zero.
fn port_from(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// Version 2 (PP §2.2): a signature, what it is about, a length and as many bytes.
fn parse_binary(bytes: &[u8]) -> Result<Option<Preface>, Error> {
    let Some((&[version_command, family, high, low], rest)) =
        bytes.get(SIGNATURE.len()..).and_then(<[u8]>::split_first_chunk)
    else {
        return Ok(None);
    };
    let is_local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Error::ProxyHeader),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LENGTH_MAX {
        return Err(Error::ProxyHeader);
    }
    let size = SIGNATURE.len() + 4 + length;
    let (Some(block), Some(header)) = (rest.get(..length), bytes.get(..size)) else { return Ok(None) };
    if is_local {
        // All of the block is to be ignored, its family too.
        return Ok(Some(Preface { size, source: Source::Proxy, is_https: false }));
    }
    // The second digit is how the client came to the proxy, and HTTP/3 comes in datagrams.
    let (source, address_size) = match family {
        0x00 => (Source::Hidden, 0),
        0x11 | 0x12 => (ipv4_source(block)?, 12),
        0x21 | 0x22 => (ipv6_source(block)?, 36),
        0x31 | 0x32 => (Source::Hidden, 216),
        _ => return Err(Error::ProxyHeader),
    };
    let extensions = block.get(address_size..).ok_or(Error::ProxyHeader)?;
    let is_https = read_extensions(extensions, header)?;
    Ok(Some(Preface { size, source, is_https }))
}

fn ipv4_source(block: &[u8]) -> Result<Source, Error> {
    let (address, rest) = block.split_first_chunk::<4>().ok_or(Error::ProxyHeader)?;
    let (_destination, rest) = rest.split_first_chunk::<4>().ok_or(Error::ProxyHeader)?;
    let (port, _) = rest.split_first_chunk::<2>().ok_or(Error::ProxyHeader)?;
    Ok(Source::Inet((Ipv4Addr::from(*address), u16::from_be_bytes(*port)).into()))
}

fn ipv6_source(block: &[u8]) -> Result<Source, Error> {
    let (address, rest) = block.split_first_chunk::<16>().ok_or(Error::ProxyHeader)?;
    let (_destination, rest) = rest.split_first_chunk::<16>().ok_or(Error::ProxyHeader)?;
    let (port, _) = rest.split_first_chunk::<2>().ok_or(Error::ProxyHeader)?;
    Ok(Source::Inet((Ipv6Addr::from(*address), u16::from_be_bytes(*port)).into()))
}

/// Walks the extensions (PP §2.2.4 on), those that are not known too: each must end where it says. Answers whether
/// the client came by TLS.
fn read_extensions(extensions: &[u8], header: &[u8]) -> Result<bool, Error> {
    let (mut tls, mut checksum) = (None, None);
    let mut rest = extensions;
    while let Some((kind, value, behind)) = split_extension(rest)? {
        match kind {
            TYPE_CRC32C => {
                let stated = value.try_into().map(u32::from_be_bytes).map_err(|_| Error::ProxyHeader)?;
                let place = header.len() - behind.len() - value.len();
                set_once(&mut checksum, (stated, place))?;
            }
            TYPE_SSL => set_once(&mut tls, is_tls(value)?)?,
            _ => {}
        }
        rest = behind;
    }
    match checksum {
        Some((stated, place)) if stated != crc32c_without(header, place) => Err(Error::ProxyHeader),
        Some(_) | None => Ok(tls.unwrap_or(false)),
    }
}

/// The flags of the client, and extensions of their own (PP §2.2.6).
fn is_tls(value: &[u8]) -> Result<bool, Error> {
    let (&[client, ..], mut rest) = value.split_first_chunk::<5>().ok_or(Error::ProxyHeader)?;
    while let Some((_, _, behind)) = split_extension(rest)? {
        rest = behind;
    }
    Ok(client & CLIENT_SSL != 0)
}

/// Type, value, and what is behind. `None` at the end.
#[allow(clippy::type_complexity, reason = "three parts of one slice")]
fn split_extension(bytes: &[u8]) -> Result<Option<(u8, &[u8], &[u8])>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (&[kind, high, low], rest) = bytes.split_first_chunk::<3>().ok_or(Error::ProxyHeader)?;
    let size = usize::from(u16::from_be_bytes([high, low]));
    let (value, behind) = rest.split_at_checked(size).ok_or(Error::ProxyHeader)?;
    Ok(Some((kind, value, behind)))
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), Error> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::ProxyHeader),
    }
}

/// The checksum of a header in which its own four bytes are zero (PP §2.2.3; RFC 4960 appendix B).
fn crc32c_without(header: &[u8], place: usize) -> u32 {
    let own = place..place + 4;
    let bytes = header.iter().enumerate().map(|(at, byte)| if own.contains(&at) { 0 } else { *byte });
    !bytes.fold(u32::MAX, |crc, byte| crc >> 8 ^ CRC32C[usize::from(crc.to_le_bytes()[0] ^ byte)])
}

/// What a byte does to a checksum by the polynomial of Castagnoli, lowest bit first.
const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// The beginning of version 2, which begins no line of any protocol.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line, with its CRLF.
const LINE_SIZE_MAX: usize = 107;
/// The largest addresses, those of unix sockets, and 4 KiB of extensions.
const LENGTH_MAX: usize = 216 + 4096;
const TYPE_CRC32C: u8 = 0x03;
const TYPE_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict, which must be the same however the bytes come.
    fn check(bytes: &[u8]) -> Result<Option<Preface>, Error> {
        let whole = parse(bytes);
        let early = (1..bytes.len()).map(|size| parse(&bytes[..size])).find(|verdict| *verdict != Ok(None));
        if let Some(verdict) = early {
            assert_eq!(verdict, whole, "{bytes:?} in pieces");
        }
        whole
    }

    fn inet(address: &str) -> Source {
        Source::Inet(address.parse().expect("an address"))
    }

    #[test]
    fn lines_are_read_by_the_letter() {
        let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                       65535 65535";
        for (line, source) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443", inet("192.0.2.1:56324")),
            ("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0", inet("255.255.255.255:65535")),
            ("PROXY TCP6 2001:db8::1 ::1 1 2", inet("[2001:db8::1]:1")),
            ("PROXY TCP6 2001:DB8:0:0:0:0:0:1 ::ffff:192.0.2.1 1 2", inet("[2001:db8::1]:1")),
            ("PROXY UNKNOWN", Source::Hidden),
            ("PROXY UNKNOWN TCP4 anything  at all", Source::Hidden),
            (longest, Source::Hidden),
        ] {
            let bytes = format!("{line}\r\nGET / HTTP/1.1\r\n");
            let expected = Preface { size: line.len() + 2, source, is_https: false };
            assert_eq!(check(bytes.as_bytes()), Ok(Some(expected)), "{line}");
            assert_eq!(check(line.as_bytes()), Ok(None), "{line}");
        }
        assert_eq!(longest.len() + 2, LINE_SIZE_MAX);
    }

    #[test]
    fn other_lines_are_refused() {
        let long = format!("PROXY UNKNOWN {}", "a".repeat(LINE_SIZE_MAX - 15));
        for line in [
            "GET / HTTP/1.1",
            "proxy TCP4 192.0.2.1 192.0.2.2 1 2",
            "PROXY",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2",
            "PROXY TCP 192.0.2.1 192.0.2.2 1 2",
            "PROXY tcp4 192.0.2.1 192.0.2.2 1 2",
            "PROXY UNKNOWNS",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 ",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2",
            "PROXY TCP4 192.0.2.1 192.0.2 1 2",
            "PROXY TCP4 192.0.2.256 192.0.2.2 1 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2",
            "PROXY TCP4 192.0.2.1 192.0.2.2  2",
            "PROXY TCP4 ::1 ::1 1 2",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2",
            "PROXY TCP6 ::1 :: 1 2\r",
            "PROXY TCP6 ::1::2 :: 1 2",
            "PROXY UNKNOWN a\rb",
            "PROXY UNKNOWN \u{e9}\u{ff}x\r",
            &long,
        ] {
            assert_eq!(check(format!("{line}\r\n").as_bytes()), Err(Error::ProxyHeader), "{line:?}");
        }
        assert_eq!(check(b"PROXY UNKNOWN\n"), Err(Error::ProxyHeader), "no CR");
        assert_eq!(check(b"PROXY UNKNOWN \xff\r\n"), Err(Error::ProxyHeader), "not ASCII");
        assert_eq!(check(&[&b"PROXY UNKNOWN "[..], &[b'a'; 200]].concat()), Err(Error::ProxyHeader), "no end");
    }

    fn binary(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let size = u16::try_from(block.len()).expect("a block is small").to_be_bytes();
        [SIGNATURE, &[version_command, family], &size, block].concat()
    }

    fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind][..], &u16::try_from(value.len()).expect("a value is small").to_be_bytes(), value].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 1, 187];

    fn with_extensions(extensions: &[u8]) -> Vec<u8> {
        binary(0x21, 0x11, &[&IPV4, extensions].concat())
    }

    #[test]
    fn binary_headers_are_read() {
        let ipv6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0, 80, 0, 80]].concat();
        let (tls, plain) =
            (extension(TYPE_SSL, &[1, 0, 0, 0, 0]), extension(TYPE_SSL, &[6, 0, 0, 0, 0, 0x21, 0, 1, 65]));
        let large = extension(0xe0, &[7; 4093]);
        for (bytes, source, is_https) in [
            (with_extensions(b""), inet("192.0.2.1:56324"), false),
            (binary(0x21, 0x12, &IPV4), inet("192.0.2.1:56324"), false),
            (binary(0x21, 0x21, &ipv6), inet("[2001:db8::1]:80"), false),
            (binary(0x21, 0x31, &[b'a'; 216]), Source::Hidden, false),
            (binary(0x21, 0, b""), Source::Hidden, false),
            (binary(0x21, 0, &tls), Source::Hidden, true),
            (binary(0x20, 0, b""), Source::Proxy, false),
            (binary(0x20, 0xff, b"anything"), Source::Proxy, false),
            (with_extensions(&tls), inet("192.0.2.1:56324"), true),
            (with_extensions(&plain), inet("192.0.2.1:56324"), false),
            (with_extensions(&[&extension(4, b"")[..], &tls].concat()), inet("192.0.2.1:56324"), true),
            (binary(0x21, 0x31, &[&[0; 216][..], &large].concat()), Source::Hidden, false),
        ] {
            let expected = Preface { size: bytes.len(), source, is_https };
            assert_eq!(check(&[&bytes[..], b"GET / HTTP/1.1\r\n"].concat()), Ok(Some(expected)), "{bytes:?}");
            assert_eq!(check(&bytes[..bytes.len() - 1]), Ok(None), "{bytes:?}");
        }
    }

    #[test]
    fn other_binary_headers_are_refused() {
        let tls = extension(TYPE_SSL, &[1, 0, 0, 0, 0]);
        for bytes in [
            binary(0x11, 0x11, &IPV4),
            binary(0x22, 0x11, &IPV4),
            binary(0x21, 0x10, &IPV4),
            binary(0x21, 0x13, &IPV4),
            binary(0x21, 0x41, &IPV4),
            binary(0x21, 0x11, &IPV4[..11]),
            binary(0x21, 0x21, &IPV4),
            binary(0x21, 0x31, &IPV4),
            binary(0x20, 0, &[0; LENGTH_MAX + 1]),
            with_extensions(&[4]),
            with_extensions(&[4, 0]),
            with_extensions(&[4, 0, 2, 0]),
            with_extensions(&extension(TYPE_SSL, &[1, 0, 0, 0])),
            with_extensions(&extension(TYPE_SSL, &[1, 0, 0, 0, 0, 0x21, 0, 9])),
            with_extensions(&[&tls[..], &tls].concat()),
            with_extensions(&extension(TYPE_CRC32C, &[0; 3])),
            with_extensions(&extension(TYPE_CRC32C, &[0; 4])),
            b"\r\n\r\nGET / HTTP/1.1\r\n".to_vec(),
        ] {
            assert_eq!(check(&bytes), Err(Error::ProxyHeader), "{bytes:?}");
        }
    }

    #[test]
    fn a_checksum_is_verified() {
        let crc = |bytes: &[u8]| crc32c_without(bytes, bytes.len());
        assert_eq!(crc(b"123456789"), 0xE306_9283, "the check value of the polynomial");
        let extensions = [extension(TYPE_CRC32C, &[0; 4]), extension(1, b"h2")].concat();
        let mut bytes = with_extensions(&extensions);
        let sum = crc(&bytes).to_be_bytes();
        let place = bytes.len() - 5 - 4;
        bytes[place..place + 4].copy_from_slice(&sum);
        assert!(check(&bytes).is_ok_and(|preface| preface.is_some()));
        // The type is left alone: what is not told to be a checksum is none.
        for at in (16..bytes.len()).filter(|at| *at != place - 3) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(!matches!(parse(&changed), Ok(Some(preface)) if preface.source != Source::Proxy), "byte {at}");
        }
        let twice = [extension(TYPE_CRC32C, &sum), extension(TYPE_CRC32C, &sum)].concat();
        assert_eq!(check(&with_extensions(&twice)), Err(Error::ProxyHeader));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_get_one_verdict(binary: bool, tail in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let start: &[u8] = if binary { SIGNATURE } else { b"PROXY TCP4 1.2.3.4 " };
            if let Ok(Some(preface)) = check(&[start, &tail].concat()) {
                proptest::prop_assert!(preface.size <= start.len() + tail.len());
            }
        }

        #[test]
        fn addresses_come_back(ip: [u8; 16], port: u16) {
            let source = Source::Inet((Ipv6Addr::from(ip), port).into());
            let line = format!("PROXY TCP6 {} :: {port} 1\r\n", Ipv6Addr::from(ip));
            proptest::prop_assert_eq!(check(line.as_bytes()).map(|found| found.map(|found| found.source)), Ok(Some(source)));
            let block = [&ip[..], &[0; 16], &port.to_be_bytes(), &[0; 2]].concat();
            let found = check(&binary(0x21, 0x21, &block));
            proptest::prop_assert_eq!(found.map(|found| found.map(|found| found.source)), Ok(Some(source)));
        }
    }
}
