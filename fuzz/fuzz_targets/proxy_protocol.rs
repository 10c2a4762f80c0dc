#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway::http::fuzz::proxy_protocol(data));
