use pkcs1::der::Encode as _;
use pkcs8::PrivateKeyInfoRef;
use pkcs8::der::AnyRef;
use pkcs8::der::pem::{LineEnding, encode_string};
use pkcs8::spki::AlgorithmIdentifierRef;
use proptest::prelude::*;
use ring::rand::SystemRandom;

use super::*;

const ITEM: &str = "abcdefghijklmnopqrstuvwxyz";

fn pem(label: &str, der: &[u8]) -> String {
    encode_string(label, LineEnding::LF, der).unwrap()
}

fn ed25519() -> (String, Ed25519KeyPair) {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
    (pem("PRIVATE KEY", der.as_ref()), pair)
}

fn pkcs8(oid: &str, key: &[u8], public: Option<&[u8]>) -> String {
    let algorithm = AlgorithmIdentifierRef {
        oid: ObjectIdentifier::new_unwrap(oid),
        parameters: (oid == RSA.to_string()).then_some(AnyRef::NULL),
    };
    let mut info = PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(key).unwrap());
    info.public_key = public.map(|bytes| BitStringRef::from_bytes(bytes).unwrap());
    pem("PRIVATE KEY", &info.to_der().unwrap())
}

/// The classical example of textbooks: the form matters here, not the strength.
fn rsa() -> Vec<u8> {
    let number = |bytes| UintRef::new(bytes).unwrap();
    let key = RsaPrivateKeyRef {
        modulus: number(&[0x0c, 0xa1]),
        public_exponent: number(&[17]),
        private_exponent: number(&[0x0a, 0xc1]),
        prime1: number(&[61]),
        prime2: number(&[53]),
        exponent1: number(&[53]),
        exponent2: number(&[49]),
        coefficient: number(&[0x80]),
        other_prime_infos: None,
    };
    key.to_der().unwrap()
}

/// The parts of an OpenSSH file: what is public, the check numbers, what is private.
struct Read {
    public: Vec<Vec<u8>>,
    check: [u8; 8],
    private: Vec<Vec<u8>>,
}

fn strings(mut bytes: &[u8], count: usize) -> (Vec<Vec<u8>>, &[u8]) {
    let mut found = Vec::new();
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk().unwrap();
        let (string, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        found.push(string.to_vec());
        bytes = rest;
    }
    (found, bytes)
}

fn read(text: &str, parts: (usize, usize)) -> Read {
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap().split('\n').collect();
    let (first, rest) = lines.split_first().unwrap();
    let (last, body) = rest.split_last().unwrap();
    assert_eq!((*first, *last), (BEGIN.trim_end(), END.trim_end()));
    let (short, full) = body.split_last().unwrap();
    assert!(full.iter().all(|line| line.len() == 70) && (1..=70).contains(&short.len()));
    let bytes = STANDARD.decode(body.concat()).unwrap();
    let (head, rest) = strings(bytes.strip_prefix(MAGIC).unwrap(), 3);
    assert_eq!(head, [&b"none"[..], b"none", b""]);
    let (keys, rest) = strings(rest.strip_prefix(&[0, 0, 0, 1]).unwrap(), 2);
    assert!(rest.is_empty());
    let (public, rest) = strings(&keys[0], parts.0);
    assert!(rest.is_empty() && keys[1].len() % 8 == 0);
    let (check, rest) = keys[1].split_first_chunk().unwrap();
    let (private, padding) = strings(rest, parts.1);
    assert!(padding.len() < 8 && padding.iter().zip(1..).all(|(byte, n)| *byte == n));
    Read { public, check: *check, private }
}

#[test]
fn an_ed25519_key_keeps_its_halves() {
    let (key, pair) = ed25519();
    let found = read(&openssh(&key, ITEM).unwrap(), (2, 4));
    let public = pair.public_key().as_ref();
    assert_eq!(found.public, [b"ssh-ed25519", public]);
    let [name, half, both, comment] = found.private.as_slice() else { panic!("four parts") };
    assert_eq!(
        (name.as_slice(), half.as_slice(), comment.as_slice()),
        (&b"ssh-ed25519"[..], public, &b""[..])
    );
    assert_eq!(&both[32..], public);
    let rebuilt = Ed25519KeyPair::from_seed_and_public_key(&both[..32], public).unwrap();
    assert_eq!(rebuilt.public_key().as_ref(), public);
}

#[test]
fn an_rsa_key_is_the_same_from_both_forms() {
    let key = rsa();
    let text = openssh(&pem("RSA PRIVATE KEY", &key), ITEM).unwrap();
    assert_eq!(openssh(&pkcs8(&RSA.to_string(), &key, None), ITEM).unwrap(), text);
    let found = read(&text, (3, 8));
    assert_eq!(found.public, [&b"ssh-rsa"[..], &[17], &[0x0c, 0xa1]]);
    let numbers: [&[u8]; 8] =
        [b"ssh-rsa", &[0x0c, 0xa1], &[17], &[0x0a, 0xc1], &[0, 0x80], &[61], &[53], b""];
    assert_eq!(found.private, numbers);
}

#[test]
fn the_same_key_of_the_same_item_always_becomes_the_same_text() {
    let (key, _) = ed25519();
    let text = openssh(&key, ITEM).unwrap();
    assert_eq!(openssh(&key.replace('\n', "\r\n"), ITEM).unwrap(), text);
    assert_eq!(openssh(&format!("\n{}  ", key.trim_end()), ITEM).unwrap(), text);
    assert_ne!(openssh(&key, "another").unwrap(), text);
    // The first bytes of the SHA-256 of the alphabet, as NIST has it.
    let check = [0x71, 0xc4, 0x80, 0xdf];
    assert_eq!(read(&text, (2, 4)).check, [check, check].concat().as_slice());
}

#[test]
fn what_is_openssh_already_is_passed_through() {
    let (key, _) = ed25519();
    let text = openssh(&key, ITEM).unwrap();
    assert_eq!(openssh(&text, "another").unwrap(), text);
    let untidy = format!("{}\r\n", text.trim_end());
    assert_eq!(openssh(&untidy, ITEM).unwrap().as_str(), untidy);
    let hollow = pem("OPENSSH PRIVATE KEY", b"openssh-key-v2\0");
    assert_eq!(openssh(&hollow, ITEM).unwrap_err(), SshKeyError::Unreadable);
}

#[test]
fn what_is_no_such_key_is_refused_with_its_kind() {
    let (key, _) = ed25519();
    let (_, other) = ed25519();
    let broken = key.replacen("MF", "MG", 1);
    let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let seed = [&[4, 32][..], &[7; 32]].concat();
    let (public, oid) = (other.public_key().as_ref(), ED25519.to_string());
    for (text, error) in [
        ("", SshKeyError::Unreadable),
        ("hunter2", SshKeyError::Unreadable),
        (broken.as_str(), SshKeyError::Unreadable),
        (key.lines().next().unwrap(), SshKeyError::Unreadable),
        (traditional, SshKeyError::Encrypted),
        (&pem("ENCRYPTED PRIVATE KEY", b"x"), SshKeyError::Encrypted),
        (&pem("PUBLIC KEY", b"x"), SshKeyError::NotPrivateKey),
        (&pem("CERTIFICATE", b"x"), SshKeyError::NotPrivateKey),
        (&pem("EC PRIVATE KEY", b"x"), SshKeyError::Algorithm),
        (&pkcs8("1.2.840.10045.2.1", b"x", None), SshKeyError::Algorithm),
        (&pkcs8(&oid, &seed, Some(public)), SshKeyError::Mismatch),
        (&pkcs8(&oid, &seed[..33], None), SshKeyError::Unreadable),
        (&pkcs8(&RSA.to_string(), &seed, None), SshKeyError::Unreadable),
        (&pem("RSA PRIVATE KEY", b""), SshKeyError::Unreadable),
    ] {
        assert_eq!(openssh(text, ITEM).map(|_| ()), Err(error), "{text}");
    }
    assert!(openssh(&pkcs8(&oid, &seed, None), ITEM).is_ok());
}

proptest! {
    #[test]
    fn reading_never_panics(der in proptest::collection::vec(any::<u8>(), 0..80), text in "\\PC{0,80}") {
        let _ = openssh(&text, ITEM);
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
            let _ = openssh(&pem(label, &der), ITEM);
        }
    }
}
