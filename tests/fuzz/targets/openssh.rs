//! Whatever stands in a field becomes an OpenSSH key or an error; a key always becomes the same one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkcs8::der::pem::{LineEnding, encode_string};
use portcullis::render::openssh;

/// An Ed25519 key in PKCS#8 up to its seed (RFC 8410, 7).
const BEFORE_SEED: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];

fuzz_target!(|data: &[u8]| {
    let _ = openssh(&String::from_utf8_lossy(data), "an item");
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
        if let Ok(pem) = encode_string(label, LineEnding::LF, data) {
            let _ = openssh(&pem, "an item");
        }
    }
    let Some(seed) = data.first_chunk::<32>() else { return };
    let key = [&BEFORE_SEED[..], seed].concat();
    let Ok(pem) = encode_string("PRIVATE KEY", LineEnding::LF, &key) else { return };
    let text = openssh(&pem, "an item").expect("the key is one");
    assert_eq!(openssh(&pem, "an item").as_ref(), Ok(&text));
    assert_eq!(openssh(&text, "another").as_ref(), Ok(&text));
});
