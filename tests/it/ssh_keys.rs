//! Private keys in the OpenSSH format, as OpenSSH itself reads them.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use pkcs8::der::pem::{LineEnding, encode_string};
use portcullis::render::openssh;
use portcullis_test_support::Bed;
use portcullis_test_support::connect_dev::{FieldSpec, ItemSpec};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file that only its owner may read, as `ssh-keygen` demands.
    fn private(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ssh_keygen(arguments: &[&str], file: &Path) -> String {
    let output = Command::new("ssh-keygen").args(arguments).arg("-f").arg(file).output();
    let output = output.expect("ssh-keygen is missing; install the OpenSSH client");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ssh-keygen {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The algorithm and the public key that belong to a private one.
fn public(file: &Path) -> Vec<String> {
    let line = ssh_keygen(&["-y"], file);
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

fn ed25519() -> String {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    encode_string("PRIVATE KEY", LineEnding::LF, der.as_ref()).unwrap()
}

#[test]
fn ssh_keygen_reads_an_rsa_key_of_either_form() {
    let folder = Folder::new("portcullis-rsa");
    for (form, begin) in
        [("PKCS8", "-----BEGIN PRIVATE KEY"), ("PEM", "-----BEGIN RSA PRIVATE KEY")]
    {
        let original = folder.0.join(form);
        ssh_keygen(&["-q", "-t", "rsa", "-b", "2048", "-m", form, "-N", ""], &original);
        let key = fs::read_to_string(&original).unwrap();
        assert!(key.starts_with(begin), "ssh-keygen makes another form");
        let text = openssh(&key, "an item").unwrap();
        assert_eq!(openssh(&key, "an item").unwrap(), text);
        let converted = folder.private(&format!("{form}.openssh"), &text);
        assert_eq!(public(&converted), public(&original), "{form}");
    }
}

#[test]
fn ssh_keygen_passes_and_reads_a_key_that_it_made_itself() {
    let folder = Folder::new("portcullis-own");
    let original = folder.0.join("own");
    ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "a comment"], &original);
    let key = fs::read_to_string(&original).unwrap();
    assert_eq!(openssh(&key, "an item").unwrap().as_str(), key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_1password_becomes_one_that_ssh_keygen_reads_and_stays_the_same() {
    let bed = Bed::new("ssh").await;
    let key = ed25519();
    let field =
        FieldSpec { kind: Some("SSHKEY".to_owned()), ..FieldSpec::new("private key", &key) };
    let item = ItemSpec::new("deploy key").with(field).category("SSH_KEY");
    let id = bed.connect.add_item("services", item).unwrap();
    let operator = bed.operator().await;
    let reference = "op://services/deploy key/private key?ssh-format=openssh";
    bed.request_data("deploy", &[("id_ed25519", reference)]).await;
    let expected = openssh(&key, &id).unwrap();
    let secret = bed.wait_value("deploy", "id_ed25519", &expected).await;

    let folder = Folder::new("portcullis-ed25519");
    let public = public(&folder.private("key", &expected));
    assert_eq!(public[0], "ssh-ed25519");

    // The item moves, the key does not.
    bed.connect.set_field("services", "deploy key", "url", "https://github.com").unwrap();
    bed.wait_request("deploy", "the new version", |request| {
        let sync = request.status.as_ref().and_then(|status| status.sync.as_ref());
        sync.is_some_and(|sync| sync.items.iter().all(|item| item.version == 2))
    })
    .await;
    assert_eq!(bed.secret("deploy").await.unwrap().data, secret.data);
    operator.stop().await;
}
