//! What a trusted proxy says of a request: `Forwarded` (RFC 7239), and `X-Forwarded-For`, `-Proto` and `-Host`.
//!
//! Who may say it is decided elsewhere; here it is read. Proxies append, so an address is worth as much as the one
//! behind it: the client is the last that is not itself a trusted proxy, and what stands before it is its own word.
//! Whatever could be read in two ways is refused. Nothing is allocated, and no I/O is performed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::Error;
use super::head::Field;
use super::header;
use super::proxies::Proxies;
use super::target;

/// What is said, by one family of fields or by both alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// Who asks.
    pub client: Client,
    /// The scheme that it asked by.
    pub scheme: Option<Scheme>,
    /// The host that it asked for.
    pub host: Option<&'a [u8]>,
}

/// Who asks, as a proxy has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// Nothing is said.
    #[default]
    Unsaid,
    /// `unknown`, or a name that hides the address (RFC 7239 §6.2, §6.3).
    Hidden,
    /// An address, and the port if it is said.
    Known(IpAddr, Option<u16>),
}

/// A scheme that HTTP has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

/// The way of a request as far as it was read, first hop first.
#[derive(Default)]
struct Way<'a> {
    /// Whether the field is there at all.
    is_said: bool,
    /// The leftmost hop behind which there are only proxies.
    hop: Option<Forwarded<'a>>,
    /// Whether any hop says who.
    says_client: bool,
    count: usize,
}

/// The parameters of an element, each at most once (RFC 7239 §4).
#[derive(Default)]
struct Element<'a> {
    hop: Forwarded<'a>,
    has_client: bool,
    has_by: bool,
    pair_count: usize,
}

/// Reads the fields that a trusted proxy has sent.
///
/// # Errors
/// [`Error::Forwarded`] where one is malformed, [`Error::ForwardedDiffers`] where the two families do not say the
/// same.
pub fn read<'a>(fields: &[Field<'a>], proxies: &Proxies) -> Result<Forwarded<'a>, Error> {
    let (mut listed, mut standard) = (Way::default(), Way::default());
    let (mut scheme, mut host) = (None, None);
    for field in fields {
        let (name, value) = (field.name.as_bytes(), field.value);
        match name.len() {
            9 if name.eq_ignore_ascii_case(b"forwarded") => read_elements(value, &mut standard, proxies)?,
            15 if name.eq_ignore_ascii_case(b"x-forwarded-for") => {
                for address in header::list(value) {
                    listed.pass(Forwarded { client: listed_client(address)?, ..Forwarded::default() }, proxies)?;
                }
            }
            // Proxies set these two, and a list of them would not say which is whose.
            16 if name.eq_ignore_ascii_case(b"x-forwarded-host") => set_once(&mut host, host_from(value)?)?,
            17 if name.eq_ignore_ascii_case(b"x-forwarded-proto") => set_once(&mut scheme, scheme_from(value)?)?,
            _ => {}
        }
    }
    let is_listed = listed.is_said || scheme.is_some() || host.is_some();
    let plain = Forwarded { client: listed.end().client, scheme, host };
    match (is_listed, standard.is_said) {
        (_, false) => Ok(plain),
        (false, true) => Ok(standard.end()),
        (true, true) => agreed(plain, standard.end()),
    }
}

impl<'a> Way<'a> {
    fn pass(&mut self, hop: Forwarded<'a>, proxies: &Proxies) -> Result<(), Error> {
        self.is_said = true;
        self.count += 1;
        if self.count > HOP_COUNT_MAX {
            return Err(Error::Forwarded);
        }
        self.says_client |= hop.client != Client::Unsaid;
        let is_proxy = matches!(hop.client, Client::Known(ip, _) if proxies.trusts_ip(ip));
        if !is_proxy || self.hop.is_none() {
            self.hop = Some(hop);
        }
        Ok(())
    }

    /// The hop of the client. Where the others say who they had it from and this one does not, nobody knows.
    fn end(&self) -> Forwarded<'a> {
        match self.hop.unwrap_or_default() {
            hop @ Forwarded { client: Client::Unsaid, .. } if self.says_client => {
                Forwarded { client: Client::Hidden, ..hop }
            }
            hop => hop,
        }
    }
}

/// A proxy that sets one family may pass the other on as a client has sent it. So what either says must be said by
/// both; but a port, which `X-Forwarded-For` rarely has, is left out where one does not say it.
fn agreed<'a>(plain: Forwarded<'a>, standard: Forwarded<'a>) -> Result<Forwarded<'a>, Error> {
    let client = match (plain.client, standard.client) {
        (Client::Known(ip, port), Client::Known(other, other_port)) if ip.to_canonical() == other.to_canonical() => {
            match (port, other_port) {
                (Some(port), Some(other)) if port != other => return Err(Error::ForwardedDiffers),
                (port, other) => Client::Known(ip, port.and(other)),
            }
        }
        (client, other) if client == other => client,
        _ => return Err(Error::ForwardedDiffers),
    };
    let is_same_host = match (plain.host, standard.host) {
        (Some(host), Some(other)) => host.eq_ignore_ascii_case(other),
        (host, other) => host.is_none() && other.is_none(),
    };
    if plain.scheme != standard.scheme || !is_same_host {
        return Err(Error::ForwardedDiffers);
    }
    Ok(Forwarded { client, ..plain })
}

/// The elements of a `Forwarded` line (RFC 7239 §4). A quoted string ends in the line that it begins in, so that no
/// sender's quote reaches into what the next proxy adds.
fn read_elements<'a>(value: &'a [u8], way: &mut Way<'a>, proxies: &Proxies) -> Result<(), Error> {
    let mut rest = value;
    loop {
        let mut element = Element::default();
        let is_last = loop {
            rest = header::trim(rest);
            // The grammar allows for pairs that are empty.
            if !matches!(rest.first(), None | Some(b';' | b',')) {
                rest = header::trim(element.read_pair(rest)?);
            }
            match rest.split_first() {
                None => break true,
                Some((b';', behind)) => rest = behind,
                Some((b',', behind)) => {
                    rest = behind;
                    break false;
                }
                Some(_) => return Err(Error::Forwarded),
            }
        };
        // One without any pair would hide a hop.
        if element.pair_count == 0 {
            return Err(Error::Forwarded);
        }
        way.pass(element.hop, proxies)?;
        if is_last {
            return Ok(());
        }
    }
}

impl<'a> Element<'a> {
    /// Reads `name=value` and answers what is behind.
    fn read_pair(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
        let (name, rest) = split_token(bytes)?;
        let Some((b'=', rest)) = rest.split_first() else { return Err(Error::Forwarded) };
        let (value, rest) = match rest.split_first() {
            Some((b'"', quoted)) => split_quoted(quoted)?,
            _ => split_token(rest)?,
        };
        self.pair_count += 1;
        // None of these values ever needs a backslash, so one that has it is refused where it is looked at
        // (RFC 9110 §5.6.4).
        if name.eq_ignore_ascii_case(b"for") {
            if std::mem::replace(&mut self.has_client, true) {
                return Err(Error::Forwarded);
            }
            self.hop.client = client_from(value)?;
        } else if name.eq_ignore_ascii_case(b"proto") {
            set_once(&mut self.hop.scheme, scheme_from(value)?)?;
        } else if name.eq_ignore_ascii_case(b"host") {
            set_once(&mut self.hop.host, host_from(value)?)?;
        } else if name.eq_ignore_ascii_case(b"by") && std::mem::replace(&mut self.has_by, true) {
            return Err(Error::Forwarded);
        }
        Ok(rest)
    }
}

impl Scheme {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// A token and what is behind it.
fn split_token(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    match bytes.iter().position(|byte| !header::is_token_byte(*byte)).unwrap_or(bytes.len()) {
        0 => Err(Error::Forwarded),
        size => Ok(bytes.split_at(size)),
    }
}

/// The inside of a quoted string, backslashes and all, and what is behind its closing quote.
fn split_quoted(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let mut is_escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Ok((bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default())),
            _ => {}
        }
    }
    Err(Error::Forwarded)
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), Error> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::Forwarded),
    }
}

fn scheme_from(value: &[u8]) -> Result<Scheme, Error> {
    match value.len() {
        4 if value.eq_ignore_ascii_case(b"http") => Ok(Scheme::Http),
        5 if value.eq_ignore_ascii_case(b"https") => Ok(Scheme::Https),
        _ => Err(Error::Forwarded),
    }
}

fn host_from(value: &[u8]) -> Result<&[u8], Error> {
    if target::is_authority(value) { Ok(value) } else { Err(Error::Forwarded) }
}

/// An element of `X-Forwarded-For`, which no RFC defines: a node as in RFC 7239, or an IPv6 address without
/// brackets.
fn listed_client(text: &[u8]) -> Result<Client, Error> {
    match ip_from::<Ipv6Addr>(text) {
        Some(ip) => Ok(Client::Known(ip.into(), None)),
        None => client_from(text),
    }
}

/// A node (RFC 7239 §6): an IPv4 address, an IPv6 address in brackets, `unknown` or `_name`, and maybe a port.
fn client_from(text: &[u8]) -> Result<Client, Error> {
    let (name, rest) = match text.strip_prefix(b"[") {
        Some(inner) => match memchr::memchr(b']', inner) {
            Some(end) => (inner.get(..end).unwrap_or_default(), inner.get(end + 1..).unwrap_or_default()),
            None => return Err(Error::Forwarded),
        },
        None => text.split_at(memchr::memchr(b':', text).unwrap_or(text.len())),
    };
    let port = match rest.split_first() {
        None => None,
        Some((b':', port)) => port_from(port)?,
        Some(_) => return Err(Error::Forwarded),
    };
    if text.starts_with(b"[") {
        let ip = ip_from::<Ipv6Addr>(name).ok_or(Error::Forwarded)?;
        Ok(Client::Known(ip.into(), port))
    } else if let Some(ip) = ip_from::<Ipv4Addr>(name) {
        Ok(Client::Known(ip.into(), port))
    } else if name.eq_ignore_ascii_case(b"unknown") || is_obfuscated(name) {
        Ok(Client::Hidden)
    } else {
        Err(Error::Forwarded)
    }
}

/// The port of a node, which may be hidden, too (RFC 7239 §6).
fn port_from(text: &[u8]) -> Result<Option<u16>, Error> {
    if is_obfuscated(text) {
        return Ok(None);
    }
    let is_plain = !text.is_empty() && text.len() <= 5 && text.iter().all(u8::is_ascii_digit);
    let port = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    if is_plain && port.is_some() { Ok(port) } else { Err(Error::Forwarded) }
}

fn is_obfuscated(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.strip_prefix(b"_").is_some_and(|rest| !rest.is_empty() && rest.iter().all(is_plain))
}

fn ip_from<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Hops of a request in one family; a longer way is nobody's.
const HOP_COUNT_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Proxies {
        let mut proxies = Proxies::default();
        for network in ["10.0.0.0/8", "2001:db8:a::/48"] {
            proxies.trust(network.parse().expect("a network"));
        }
        proxies
    }

    fn check<'a>(fields: &[(&'a str, &'a str)]) -> Result<Forwarded<'a>, Error> {
        let fields: Vec<Field<'a>> =
            fields.iter().map(|(name, value)| Field { name, value: value.as_bytes() }).collect();
        read(&fields, &proxies())
    }

    fn known(ip: &str, port: Option<u16>) -> Client {
        Client::Known(ip.parse().expect("an address"), port)
    }

    fn client(fields: &[(&str, &str)]) -> Client {
        check(fields).unwrap_or_else(|error| panic!("{fields:?}: {error:?}")).client
    }

    #[test]
    fn the_client_is_the_last_that_is_no_proxy() {
        for (list, expected) in [
            ("192.0.2.1", known("192.0.2.1", None)),
            ("192.0.2.1, 192.0.2.2", known("192.0.2.2", None)),
            ("192.0.2.1, 192.0.2.2, 10.0.0.1,10.0.0.2", known("192.0.2.2", None)),
            ("10.0.0.1, 192.0.2.2, 10.0.0.2", known("192.0.2.2", None)),
            ("10.0.0.1, 10.0.0.2", known("10.0.0.1", None)),
            ("::ffff:10.0.0.1, ::ffff:192.0.2.2, ::ffff:10.0.0.2", known("::ffff:192.0.2.2", None)),
            ("192.0.2.1:80", known("192.0.2.1", Some(80))),
            ("2001:db8::1", known("2001:db8::1", None)),
            ("[2001:db8::1]", known("2001:db8::1", None)),
            ("[2001:db8::1]:65535", known("2001:db8::1", Some(65535))),
            ("2001:db8::1, 2001:db8:a::1", known("2001:db8::1", None)),
            ("192.0.2.1, unknown", Client::Hidden),
            ("192.0.2.1, unknown, 10.0.0.1", Client::Hidden),
            ("unknown, 192.0.2.1", known("192.0.2.1", None)),
        ] {
            assert_eq!(client(&[("X-Forwarded-For", list)]), expected, "{list}");
            let pairs: Vec<String> = list.split(',').map(|one| format!("For=\"{}\"", bracketed(one.trim()))).collect();
            assert_eq!(client(&[("forwarded", &pairs.join(", "))]), expected, "{pairs:?}");
        }
        let lines = [("X-Forwarded-For", "192.0.2.1, 192.0.2.2"), ("A", "b"), ("x-forwarded-for", "10.0.0.1")];
        assert_eq!(client(&lines), known("192.0.2.2", None), "lines are joined in order");
    }

    /// As RFC 7239 has it.
    fn bracketed(node: &str) -> String {
        if node.parse::<Ipv6Addr>().is_ok() { format!("[{node}]") } else { node.to_string() }
    }

    #[test]
    fn scheme_and_host_are_those_of_the_clients_own_hop() {
        let said = check(&[
            ("Forwarded", "for=192.0.2.1;proto=http;host=evil, for=192.0.2.2;proto=HTTPS;host=\"a.example:443\""),
            ("Forwarded", "for=10.0.0.1;proto=http;host=inner;by=_x;secret=\"a\\\",;b\""),
        ]);
        let client = known("192.0.2.2", None);
        let expected = Forwarded { client, scheme: Some(Scheme::Https), host: Some(b"a.example:443") };
        assert_eq!(said, Ok(expected));
        let said = check(&[("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "[::1]:80")]);
        let expected = Forwarded { client: Client::Unsaid, scheme: Some(Scheme::Https), host: Some(b"[::1]:80") };
        assert_eq!(said, Ok(expected));
        let said = check(&[("Forwarded", "proto=https")]);
        assert_eq!(said, Ok(Forwarded { scheme: Some(Scheme::Https), ..Forwarded::default() }), "nobody is said");
        assert_eq!(client_of("for=192.0.2.1, proto=https"), Client::Hidden, "the last hop does not say from whom");
        assert_eq!(client_of("for=_hidden"), Client::Hidden);
        assert_eq!(client_of("for=\"_hidden:_port\""), Client::Hidden);
        assert_eq!(client_of("for=\"192.0.2.1:_port\""), known("192.0.2.1", None));
        assert_eq!(client_of("for=192.0.2.1 ; ;proto=http;"), known("192.0.2.1", None));
    }

    fn client_of(value: &str) -> Client {
        client(&[("Forwarded", value)])
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let many = ["10.0.0.1"; HOP_COUNT_MAX + 1].join(", ");
        for value in [
            "",
            ",",
            "192.0.2.1,",
            ",192.0.2.1",
            "a",
            "192.0.2",
            "192.0.2.01",
            "192.0.2.1:",
            "192.0.2.1:x",
            "192.0.2.1:65536",
            "192.0.2.1:000080",
            "[::1",
            "::1]",
            "[192.0.2.1]",
            "[::1]80",
            "[::1]:",
            "fe80::1%eth0",
            "_",
            "_a b",
            "\"192.0.2.1\"",
            "192.0.2.1;",
            "192.0.2.1 192.0.2.2",
            "x, 192.0.2.1",
            &many,
        ] {
            assert_eq!(check(&[("X-Forwarded-For", value)]), Err(Error::Forwarded), "{value}");
        }
        for value in ["", "ftp", "https, https", "http,", "\"https\"", "https;"] {
            assert_eq!(check(&[("X-Forwarded-Proto", value)]), Err(Error::Forwarded), "{value}");
        }
        for value in ["", "a, b", "a b", "a@b", "h:65536", "[::1", "http://a"] {
            assert_eq!(check(&[("X-Forwarded-Host", value)]), Err(Error::Forwarded), "{value}");
        }
        for name in ["X-Forwarded-Proto", "X-Forwarded-Host"] {
            assert_eq!(check(&[(name, "http"), (name, "http")]), Err(Error::Forwarded), "{name} twice");
        }
        let many = ["for=10.0.0.1"; HOP_COUNT_MAX + 1].join(", ");
        for value in [
            "",
            ",",
            ";",
            "for=192.0.2.1,",
            ", for=192.0.2.1",
            "for=192.0.2.1,,for=192.0.2.1",
            "for",
            "for=",
            "=a",
            "for =192.0.2.1",
            "for= 192.0.2.1",
            "for=192.0.2.1:80",
            "for=[::1]",
            "for=\"::1\"",
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\\\"",
            "for=\"192.0.2\\.1\"",
            "for=\"\"",
            "for=\"192.0.2.1\"x",
            "for=192.0.2.1 proto=http",
            "for=192.0.2.1;for=192.0.2.1",
            "proto=http;proto=http",
            "host=a;host=a",
            "by=_a;by=_a",
            "proto=ftp",
            "host=a:80",
            "host=\"a b\"",
            "host=\"a\\b\"",
            "for=a",
            &many,
        ] {
            assert_eq!(check(&[("Forwarded", value)]), Err(Error::Forwarded), "{value}");
        }
        let open = [("Forwarded", "for=\"192.0.2.1"), ("Forwarded", "for=192.0.2.2;a=\"")];
        assert_eq!(check(&open), Err(Error::Forwarded), "a quote does not reach into the next line");
        assert_eq!(client(&[("X_Forwarded_For", "a"), ("X-Forwarded_For", "b")]), Client::Unsaid, "other names");
    }

    #[test]
    fn both_families_must_say_the_same() {
        let plain = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "a")];
        let with = |value| check(&[&plain[..], &[("Forwarded", value)]].concat());
        assert!(with("for=192.0.2.1;proto=https;host=A").is_ok());
        assert_eq!(
            with("for=\"192.0.2.1:80\";proto=https;host=a").map(|said| said.client),
            Ok(known("192.0.2.1", None))
        );
        for value in [
            "for=192.0.2.2;proto=https;host=a",
            "for=192.0.2.1;proto=http;host=a",
            "for=192.0.2.1;proto=https;host=b",
            "proto=https;host=a",
            "for=192.0.2.1;host=a",
            "for=192.0.2.1;proto=https",
            "for=unknown;proto=https;host=a",
        ] {
            assert_eq!(with(value), Err(Error::ForwardedDiffers), "{value}");
        }
        for (name, value) in plain {
            let alone = check(&[(name, value), ("Forwarded", "by=_a")]);
            assert_eq!(alone, Err(Error::ForwardedDiffers), "{name}");
        }
        let ports = [("X-Forwarded-For", "192.0.2.1:1"), ("Forwarded", "for=\"192.0.2.1:2\"")];
        assert_eq!(check(&ports), Err(Error::ForwardedDiffers), "two ports");
        let hidden = [("X-Forwarded-For", "unknown"), ("Forwarded", "for=_hidden")];
        assert_eq!(client(&hidden), Client::Hidden);
    }
}
