//! The entries for what proxies say: the fields of a request, held against a second reading, and PROXY headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::http::error::Error;
use crate::http::forwarded::{self, Client, Scheme};
use crate::http::head::Field;
use crate::http::proxies::Proxies;
use crate::http::proxy_protocol;
use crate::http::target::is_authority;

use super::pieces;

/// Lines: the first byte of each chooses a name, the others are the value.
pub fn forwarded(data: &[u8]) {
    let lines: Vec<(&str, &[u8])> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split_first())
        .map(|(choice, value)| (NAMES[usize::from(*choice) % NAMES.len()], value))
        .collect();
    let fields: Vec<Field<'_>> = lines.iter().map(|(name, value)| Field { name, value }).collect();
    let mut proxies = Proxies::default();
    proxies.trust("10.0.0.0/8".parse().expect("a network"));
    let said = forwarded::read(&fields, &proxies);
    match (said, read(&lines)) {
        (Ok(said), Some((client, scheme, host))) => {
            let (ip, port) = match said.client {
                Client::Known(ip, port) => (Some(ip.to_canonical()), port),
                Client::Unsaid | Client::Hidden => (None, None),
            };
            assert_eq!((ip, port), client, "the client of {lines:?}");
            assert_eq!(said.scheme.map(Scheme::name), scheme, "the scheme of {lines:?}");
            assert_eq!(said.host, host.as_deref(), "the host of {lines:?}");
        }
        (Err(Error::Forwarded | Error::ForwardedDiffers), None) => {}
        (said, read) => panic!("{lines:?} are read as {said:?} and {read:?}"),
    }
}

/// A byte that chooses how the rest begins; the rest.
pub fn proxy_protocol(data: &[u8]) {
    let ([choice], rest) = pieces::split::<1>(data);
    let start: &[u8] = [&b""[..], b"\r\n\r\n\0\r\nQUIT\n\x21", b"PROXY TCP4 ", b"PROXY TCP6 "][usize::from(choice % 4)];
    let bytes = [start, rest].concat();
    let whole = proxy_protocol::parse(&bytes);
    for size in 0..bytes.len() {
        let verdict = proxy_protocol::parse(&bytes[..size]);
        assert!(verdict == Ok(None) || verdict == whole, "{verdict:?} of {size} bytes, {whole:?} of all");
    }
    if let Ok(Some(preface)) = whole {
        assert!(preface.size <= bytes.len() && preface.size <= 16 + 216 + 4096, "a header is bounded");
        assert!(preface.size >= b"PROXY UNKNOWN\r\n".len(), "and has something in it");
    }
}

type Node = (Option<IpAddr>, Option<u16>);
type Said = (Node, Option<&'static str>, Option<Vec<u8>>);

/// A hop: who, where that is said, and the scheme and host of its element.
#[derive(Clone, Default)]
struct Hop {
    node: Option<Node>,
    scheme: Option<&'static str>,
    host: Option<Vec<u8>>,
}

/// The same by plain lists, right to left.
fn read(lines: &[(&str, &[u8])]) -> Option<Said> {
    let of = |wanted: &str| -> Vec<&[u8]> {
        lines.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value).collect()
    };
    let (listed, standard) = (of("x-forwarded-for"), of("forwarded"));
    let (schemes, hosts) = (of("x-forwarded-proto"), of("x-forwarded-host"));
    let mut hops = Vec::new();
    for text in listed.iter().flat_map(|line| line.split(|byte| *byte == b',')) {
        let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t']);
        let bare = text.parse::<Ipv6Addr>().ok().map(|ip| (Some(IpAddr::V6(ip).to_canonical()), None));
        hops.push(Hop { node: Some(bare.or_else(|| node(text))?), ..Hop::default() });
    }
    let mut elements = Vec::new();
    for line in &standard {
        elements.extend(hops_of(line)?);
    }
    if schemes.len() > 1 || hosts.len() > 1 || hops.len() > 32 || elements.len() > 32 {
        return None;
    }
    let plain_scheme = schemes.first().map(|text| scheme(text)).map_or(Some(None), |found| found.map(Some))?;
    let plain_host = hosts.first().map(|host| host.to_vec());
    if plain_host.as_ref().is_some_and(|host| !is_authority(host)) {
        return None;
    }
    let plain = Hop { scheme: plain_scheme, host: plain_host, ..end(&hops) };
    let is_plain = !listed.is_empty() || !schemes.is_empty() || !hosts.is_empty();
    let chosen = match (is_plain, !standard.is_empty()) {
        (_, false) => plain,
        (false, true) => end(&elements),
        (true, true) => {
            let other = end(&elements);
            let folded = |hop: &Hop| hop.host.as_ref().map(|host| host.to_ascii_lowercase());
            let is_same = plain.node.map(|node| node.0) == other.node.map(|node| node.0)
                && plain.scheme == other.scheme
                && folded(&plain) == folded(&other);
            match (plain.node.and_then(|node| node.1), other.node.and_then(|node| node.1)) {
                _ if !is_same => return None,
                (Some(port), Some(other)) if port != other => return None,
                (Some(_), Some(_)) => plain,
                _ => Hop { node: plain.node.map(|(ip, _)| (ip, None)), ..plain },
            }
        }
    };
    Some((chosen.node.unwrap_or_default(), chosen.scheme, chosen.host))
}

fn end(hops: &[Hop]) -> Hop {
    let is_proxy = |hop: &&Hop| matches!(hop.node, Some((Some(IpAddr::V4(ip)), _)) if ip.octets()[0] == 10);
    let behind = hops.iter().rev().take_while(is_proxy).count();
    let mut hop = hops.get(hops.len().saturating_sub(behind + 1)).cloned().unwrap_or_default();
    if hops.iter().any(|one| one.node.is_some()) {
        hop.node.get_or_insert((None, None));
    }
    hop
}

/// The elements of a line, cut at the commas and semicolons that are not quoted.
fn hops_of(line: &[u8]) -> Option<Vec<Hop>> {
    let mut hops = Vec::new();
    for element in cut(line, b',')? {
        let mut hop = Hop::default();
        let (mut by_count, mut pair_count) = (0, 0);
        for pair in cut(element, b';')? {
            let pair = crate::http::header::trim(pair);
            if pair.is_empty() {
                continue;
            }
            pair_count += 1;
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (name, mut value) = (pair[..at].to_ascii_lowercase(), &pair[at + 1..]);
            let is_token = |text: &[u8]| super::reader::is_token(text);
            if let Some(inner) = value.strip_prefix(b"\"") {
                // The cut has made sure that quotes are closed; here nothing may be behind them.
                let [b"", _, b""] = cut_quotes(value)?[..] else { return None };
                value = inner.strip_suffix(b"\"")?;
            } else if !is_token(value) {
                return None;
            }
            if !is_token(&name) {
                return None;
            }
            let is_new = match &name[..] {
                b"for" => hop.node.replace(node(std::str::from_utf8(value).ok()?)?).is_none(),
                b"proto" => hop.scheme.replace(scheme(value)?).is_none(),
                b"host" => is_authority(value) && hop.host.replace(value.to_vec()).is_none(),
                b"by" => std::mem::replace(&mut by_count, 1) == 0,
                _ => true,
            };
            if !is_new {
                return None;
            }
        }
        if pair_count == 0 {
            return None;
        }
        hops.push(hop);
    }
    Some(hops)
}

/// `text` at each `mark` outside of quotes; nothing where a quote stays open.
fn cut(text: &[u8], mark: u8) -> Option<Vec<&[u8]>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            byte if *byte == mark && !is_quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!is_quoted).then_some(parts)
}

/// Before, within and behind the first quoted string, whose quotes are dropped.
fn cut_quotes(text: &[u8]) -> Option<Vec<&[u8]>> {
    let open = text.iter().position(|byte| *byte == b'"')?;
    let mut at = open + 1;
    while *text.get(at)? != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    Some(vec![&text[..open], &text[open + 1..at], &text[at + 1..]])
}

fn scheme(text: &[u8]) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|name| text.eq_ignore_ascii_case(name.as_bytes()))
}

fn node(text: &str) -> Option<Node> {
    let hidden = |text: &str| {
        text.len() > 1
            && text.starts_with('_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let (name, port) = match text.rfind(':') {
        Some(at) if !text.ends_with(']') => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    };
    let port = match port {
        None => None,
        Some(port) if hidden(port) => None,
        Some(port) if port.len() <= 5 && !port.starts_with('+') => Some(port.parse().ok()?),
        Some(_) => return None,
    };
    if let Some(inner) = name.strip_prefix('[') {
        return Some((Some(IpAddr::V6(inner.strip_suffix(']')?.parse().ok()?).to_canonical()), port));
    }
    if name.eq_ignore_ascii_case("unknown") || hidden(name) {
        return Some((None, None));
    }
    Some((Some(IpAddr::V4(name.parse::<Ipv4Addr>().ok()?)), port))
}

const NAMES: [&str; 6] =
    ["X-Forwarded-For", "Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host", "X_Forwarded_For", "X-Forwarded-Port"];
