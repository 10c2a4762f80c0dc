//! The environ's keys: those of docs/CONTRACT.md, the fields, and what middleware lays over them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ringway::Environ;
use ringway::connection::Limits;
use ringway::environ::Key;
use ringway::sys::Peer;

use crate::talk::{inspect, inspect_from, inspect_with, request};

type Keys = BTreeMap<String, Vec<u8>>;

const RICH: &str = "POST /caf%C3%A9/a%2Fb;x?q=%20&r HTTP/1.1\r\nHost: example.org:81\r\nContent-Type: text/x\r\n\
    Content-Length: 4\r\nX-One: 1\r\nCookie: a=b\r\nx-two: first\r\nX_Three: hidden\r\ncookie: c=d\r\nX-Two: second\r\n\
    Referer:  spaces \t\r\nX-Two: \r\n\r\nbody";

fn keys(environ: &Environ<'_>) -> Keys {
    let mut keys = Keys::new();
    for (key, value) in environ.iter() {
        assert_eq!(environ.get(&key.to_string()), Some(value), "{key}");
        assert_eq!(keys.insert(key.to_string(), value.to_vec()), None, "{key} comes twice");
    }
    keys
}

fn assert_keys(keys: Keys, expected: &[(&str, &str)]) {
    let expected: Keys = expected.iter().map(|(key, value)| (key.to_string(), value.as_bytes().to_vec())).collect();
    assert_eq!(keys, expected);
}

const SOFTWARE: &str = concat!("ringway/", env!("CARGO_PKG_VERSION"));

#[test]
fn every_key_of_the_contract() {
    assert_keys(
        inspect(RICH, keys),
        &[
            ("CONTENT_LENGTH", "4"),
            ("CONTENT_TYPE", "text/x"),
            ("HTTP_COOKIE", "a=b; c=d"),
            ("HTTP_HOST", "example.org:81"),
            ("HTTP_REFERER", "spaces"),
            ("HTTP_X_ONE", "1"),
            ("HTTP_X_TWO", "first, second, "),
            ("PATH_INFO", "/café/a/b;x"),
            ("QUERY_STRING", "q=%20&r"),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("REMOTE_PORT", "40000"),
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_URI", "/caf%C3%A9/a%2Fb;x?q=%20&r"),
            ("SCRIPT_NAME", ""),
            ("SERVER_NAME", "h"),
            ("SERVER_PORT", "80"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_SOFTWARE", SOFTWARE),
            ("wsgi.url_scheme", "http"),
        ],
    );
}

#[test]
fn the_least_request_has_the_least_keys() {
    assert_keys(
        inspect_from(Peer::Unix, "GET / HTTP/1.0\r\n\r\n", keys),
        &[
            ("PATH_INFO", "/"),
            ("QUERY_STRING", ""),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/"),
            ("SCRIPT_NAME", ""),
            ("SERVER_NAME", "h"),
            ("SERVER_PORT", "80"),
            ("SERVER_PROTOCOL", "HTTP/1.0"),
            ("SERVER_SOFTWARE", SOFTWARE),
            ("wsgi.url_scheme", "http"),
        ],
    );
}

#[test]
fn methods_say_what_keys_say() {
    inspect(RICH, |environ| {
        assert_eq!(environ.request_method(), b"POST");
        assert_eq!(environ.path_info(), "/café/a/b;x".as_bytes());
        assert_eq!((environ.script_name(), environ.query_string()), (&b""[..], &b"q=%20&r"[..]));
        assert_eq!((environ.content_type(), environ.content_length()), (Some(&b"text/x"[..]), Some(4)));
        assert_eq!((environ.server_name(), environ.server_port()), (&b"h"[..], &b"80"[..]));
        assert_eq!((environ.server_protocol(), environ.url_scheme()), (&b"HTTP/1.1"[..], &b"http"[..]));
        assert_eq!(environ.remote_addr(), b"127.0.0.1");
        assert_eq!(environ.remote_socket_addr(), Some(SocketAddr::from(([127, 0, 0, 1], 40_000))));
        assert!(environ.has_body());
        assert_eq!((environ.input().bytes(), environ.input().size()), (&b"body"[..], 4));
        assert!(environ.raw_head().starts_with(b"POST ") && environ.raw_head().ends_with(b"X-Two: \r\n"));
    });
    inspect_from(Peer::Unix, request("GET", "/"), |environ| {
        assert_eq!((environ.remote_addr(), environ.remote_socket_addr()), (&b""[..], None));
        assert_eq!((environ.content_type(), environ.content_length()), (None, None));
        assert!(!environ.has_body() && environ.input().bytes().is_empty());
    });
}

#[test]
fn keys_that_do_not_exist() {
    let bytes = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX-User: good\r\nX_User: evil\r\nX_Other-Name: evil\r\n\
        Content-Type: t\r\n\r\n0\r\n\r\n";
    inspect(bytes, |environ| {
        for key in [
            "",
            "HTTP_",
            "HTTP",
            "http_host",
            "HTTP_X_USER_",
            "HTTP_x_user",
            "HTTP_X-USER",
            "X_USER",
            "X-User",
            "HTTP_X_OTHER_NAME",
            "HTTP_CONTENT_TYPE",
            "HTTP_CONTENT_LENGTH",
            "HTTP_TRANSFER_ENCODING",
            "TRANSFER_ENCODING",
            "HOST",
            "wsgi.version",
            "wsgi.input",
            "wsgi.errors",
            "PATH",
        ] {
            assert_eq!(environ.get(key), None, "{key}");
        }
        assert_eq!(environ.get("HTTP_X_USER"), Some(&b"good"[..]));
        assert!(keys(environ).keys().all(|key| !key.contains("OTHER") && !key.contains("TRANSFER")));
    });
}

#[test]
fn an_underscore_alone_is_invisible_too() {
    inspect(
        "GET / HTTP/1.1\r\nHost: h\r\nX_User: evil\r\nContent_Type: evil\r\nContent_Length: 5\r\n\r\n",
        |environ| {
            assert_eq!(
                (environ.get("HTTP_X_USER"), environ.content_type(), environ.content_length()),
                (None, None, None)
            );
        },
    );
}

#[test]
fn the_host_of_an_absolute_target_overrules_the_field() {
    for (target, path, query) in [
        ("http://other.example:8080/p%61th?q", "/path", "q"),
        ("HTTP://other.example:8080", "/", ""),
        ("http://other.example:8080?q", "/", "q"),
    ] {
        inspect(request("GET", target), move |environ| {
            assert_eq!(environ.get("HTTP_HOST"), Some(&b"other.example:8080"[..]));
            assert_eq!((environ.path_info(), environ.query_string()), (path.as_bytes(), query.as_bytes()));
            assert_eq!(environ.get("REQUEST_URI"), Some(target.as_bytes()));
            assert_eq!(keys(environ)["HTTP_HOST"], b"other.example:8080");
        });
    }
}

#[test]
fn a_chunked_body_has_a_size() {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (chunks, body) in
        [("0\r\n\r\n", ""), ("5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX: trailer\r\n\r\n", "hello world")]
    {
        inspect([head, chunks].concat(), move |environ| {
            assert_eq!(environ.get("CONTENT_LENGTH"), Some(body.len().to_string().as_bytes()));
            assert_eq!(environ.input().bytes(), body.as_bytes());
            assert!(environ.has_body());
            assert_eq!(environ.get("HTTP_X"), None);
        });
    }
    inspect("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", |environ| {
        assert_eq!((environ.content_length(), environ.has_body()), (Some(0), true));
    });
}

#[test]
fn the_input_is_read_to_its_end_and_no_further() {
    use std::io::Read;
    inspect("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\n", |environ| {
        let mut reader = environ.input().reader();
        let mut bytes = [0; 3];
        assert_eq!((reader.read(&mut bytes).expect("memory"), &bytes), (3, b"bod"));
        assert_eq!((reader.read(&mut bytes).expect("memory"), bytes[0]), (1, b'y'));
        assert_eq!(reader.read(&mut bytes).expect("memory"), 0);
    });
}

#[test]
fn addresses_are_shown_as_a_person_writes_them() {
    for (address, expected) in [
        ("192.0.2.7:1", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
        ("[2001:db8::1]:1", "2001:db8::1"),
        ("[::1]:1", "::1"),
    ] {
        let peer = Peer::Inet(address.parse().expect("an address"));
        inspect_from(peer, request("GET", "/"), move |environ| {
            assert_eq!(environ.get("REMOTE_ADDR"), Some(expected.as_bytes()));
            assert_eq!(environ.get("REMOTE_PORT"), Some(&b"1"[..]));
        });
    }
}

/// More names than the scratch has cells for, each asked for twice and in two orders.
#[test]
fn any_number_of_names_can_be_joined() {
    let mut bytes = "GET / HTTP/1.1\r\nHost: h\r\n".to_string();
    for round in 0..2 {
        for index in 0..30 {
            bytes += &format!("X-{index}: {round}-{index}\r\n");
        }
    }
    inspect(bytes + "\r\n", |environ| {
        for index in (0..30).chain((0..30).rev()) {
            let value = environ.get(&format!("HTTP_X_{index}")).map(String::from_utf8_lossy);
            assert_eq!(value.as_deref(), Some(&*format!("0-{index}, 1-{index}")));
        }
        assert_eq!(keys(environ).len(), 13 + 30);
    });
}

#[test]
fn an_empty_value_keeps_its_place_among_the_joined() {
    let bytes = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\nX: a\r\nX: \r\nX: b\r\nY: \r\nY:\r\n\r\n";
    inspect(bytes, |environ| {
        assert_eq!(environ.get("HTTP_X"), Some(&b", a, , b"[..]));
        assert_eq!(environ.get("HTTP_Y"), Some(&b", "[..]));
    });
}

/// The scratch is used again, and shows nothing of an earlier request.
#[test]
fn requests_of_one_connection_do_not_see_each_other() {
    let app = ringway::app(|environ, start_response| {
        let keys = [environ.path_info(), environ.get("HTTP_X").unwrap_or(b"none")].join(&b' ');
        start_response.start(ringway::Status::OK).body(keys)
    });
    let first = "GET /a%20a HTTP/1.1\r\nHost: h\r\nX: 1\r\nX: 2\r\n\r\n";
    let second = "GET /b%20 HTTP/1.1\r\nHost: h\r\nX: 3\r\nX: 4\r\n\r\n";
    let memory = crate::talk::talk(app, [first, second, &request("GET", "/c"), first].concat());
    let bodies: Vec<_> = crate::talk::replies(&memory.sent, &["GET"; 4]).into_iter().map(|reply| reply.body).collect();
    assert_eq!(bodies, [&b"/a a 1, 2"[..], b"/b  3, 4", b"/c none", b"/a a 1, 2"]);
}

#[test]
fn an_overlay_hides_what_lies_below_and_ends_with_its_call() {
    inspect(RICH, |environ| {
        let seen = environ.with("HTTP_X_TWO", b"laid", |environ| {
            environ.with("REMOTE_USER", b"first", |environ| {
                environ.with("REMOTE_USER", b"second", |environ| {
                    environ.with("PATH_INFO", b"/laid", |environ| {
                        assert_eq!(environ.path_info(), b"/laid");
                        assert_eq!(environ.get("HTTP_X_TWO"), Some(&b"laid"[..]));
                        keys(environ)
                    })
                })
            })
        });
        assert_eq!(seen["REMOTE_USER"], b"second");
        assert_eq!((&*seen["PATH_INFO"], &*seen["HTTP_X_TWO"]), (&b"/laid"[..], &b"laid"[..]));
        assert_eq!(seen.len(), keys(environ).len() + 1);
        assert_eq!(environ.get("REMOTE_USER"), None);
        assert_eq!(environ.get("HTTP_X_TWO"), Some(&b"first, second, "[..]));
    });
}

#[test]
fn an_overlay_may_lay_over_anything() {
    inspect(RICH, |environ| {
        for key in
            ["HTTP_HOST", "CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "REQUEST_METHOD", "wsgi.url_scheme", "", "x"]
        {
            environ.with(key, b"12", |environ| {
                assert_eq!(environ.get(key), Some(&b"12"[..]), "{key}");
                assert_eq!(keys(environ)[key], b"12");
            });
        }
        environ.with("CONTENT_LENGTH", b"12", |environ| assert_eq!(environ.content_length(), Some(12)));
        environ.with("CONTENT_LENGTH", b"many", |environ| assert_eq!(environ.content_length(), None));
    });
}

#[test]
fn a_key_compares_and_prints_as_cgi_does() {
    let field = Key::Field(b"X-Forwarded-For");
    assert_eq!(field.to_string(), "HTTP_X_FORWARDED_FOR");
    assert_eq!(format!("{field:?}"), "HTTP_X_FORWARDED_FOR");
    assert!(field == *"HTTP_X_FORWARDED_FOR");
    for other in [
        "X_FORWARDED_FOR",
        "HTTP_X_FORWARDED_FO",
        "HTTP_X_FORWARDED_FOR_",
        "HTTP_X-FORWARDED-FOR",
        "http_x_forwarded_for",
        "",
    ] {
        assert!(field != *other, "{other}");
    }
    assert!(Key::Field(b"x_y") != *"HTTP_X_Y");
    assert!(Key::Name("PATH_INFO") == *"PATH_INFO" && Key::Name("PATH_INFO") != *"PATH");
    assert_eq!(format!("{} {:?}", Key::Name("wsgi.x"), Key::Name("a-b")), "wsgi.x a-b");
}

/// An owned environ is the same in every key, in another thread, after the request is gone.
#[test]
fn an_owned_environ_equals_the_borrowed() {
    let look = |environ: &Environ<'_>| {
        environ.with("REMOTE_USER", b"below", |environ| {
            environ.with("HTTP_X_TWO", b"laid", |environ| {
                environ.with("REMOTE_USER", b"above", |environ| (keys(environ), environ.to_owned()))
            })
        })
    };
    for (peer, bytes) in [
        (Peer::Inet(([192, 0, 2, 1], 5).into()), RICH.to_string()),
        (Peer::Unix, "GET http://a.example/%41?b HTTP/1.0\r\n\r\n".into()),
        (Peer::Unix, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into()),
    ] {
        let (expected, owned) = inspect_from(peer, &bytes, look);
        let (seen, input, again) = std::thread::spawn(move || {
            let (seen, input) = owned.with(|environ| (keys(environ), environ.input().bytes().to_vec()));
            // A copy of the copy is the same again.
            (seen, input, owned.with(|environ| environ.to_owned()).with(keys))
        })
        .join()
        .expect("it does not panic");
        assert_eq!(seen, expected);
        assert_eq!(again, expected);
        assert_eq!(seen["REMOTE_USER"], b"above");
        assert_eq!(
            input.len(),
            seen.get("CONTENT_LENGTH").map_or(0, |size| String::from_utf8_lossy(size).parse().expect("a number"))
        );
    }
}

#[test]
fn an_owned_environ_does_not_depend_on_a_leading_empty_line() {
    let bytes = ["\r\n\r\n", RICH].concat();
    let (expected, owned) = inspect(bytes, |environ| (keys(environ), environ.to_owned()));
    assert_eq!(owned.with(keys), expected);
}

#[test]
fn an_owned_environ_has_what_a_proxy_has_said() {
    let mut limits = Limits::default();
    limits.proxies.trust("127.0.0.1".parse().expect("an address"));
    let bytes = "GET / HTTP/1.1\r\nHost: h\r\nForwarded: for=192.0.2.9;proto=https;host=a.example\r\n\r\n";
    let (expected, owned) = inspect_with(limits, bytes, |environ| {
        assert_eq!(environ.remote_addr(), b"192.0.2.9");
        assert_eq!(environ.remote_ip_addr(), Some([192, 0, 2, 9].into()));
        assert_eq!(environ.remote_socket_addr(), None, "the port is not said");
        assert_eq!((environ.url_scheme(), environ.get("HTTP_HOST")), (&b"https"[..], Some(&b"a.example"[..])));
        assert_eq!(environ.get("ringway.peer_addr"), Some(&b"127.0.0.1"[..]));
        assert_eq!((environ.server_name(), environ.server_port()), (&b"h"[..], &b"80"[..]), "the listener's");
        (keys(environ), environ.to_owned())
    });
    assert_eq!(owned.with(keys), expected);
    assert_eq!(owned.with(|environ| environ.to_owned()).with(keys), expected);
}
