//! The server as clients meet it, over plain sockets.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};

use connect_dev::{ConnectDev, StateSpec};
use serde_json::{Value, json};

mod broken;
mod changing;
mod files;
mod presence;
mod reading;
mod replicas;
mod tls;
mod writing;

pub(crate) const STATE: &str = r#"
tokens:
  - {token: all, vaults: ["*"]}
  - {token: some, vaults: [services]}
  - {token: writer, vaults: [services], access: read_write}
vaults:
  - name: services
    items:
      - title: orders-db
        category: DATABASE
        tags: [x]
        fields:
          - {label: username, value: orders}
          - {label: password, value: s3cret}
          - {label: url, value: "postgres://h/db", section: connection}
      - title: My Item
        fields: {port: 5432, enabled: true, note: hello}
      - title: abcdefghijklmnopqrstuvwxyz
      - {title: twice}
      - {title: twice, state: ARCHIVED}
  - name: other
"#;

pub(crate) fn server() -> ConnectDev {
    let spec = StateSpec::from_yaml(STATE).expect("a state");
    ConnectDev::start(spec).expect("a server")
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    /// With what is no text replaced.
    pub(crate) body: String,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// Reads an answer to its end, or to where the connection ends; nothing where it ends before the body.
    pub(crate) fn read(stream: &mut impl Read) -> Option<Self> {
        let mut bytes = Vec::new();
        // An end in the middle shows in what was read.
        let _ = stream.read_to_end(&mut bytes);
        let at = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..at]).to_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let bytes = bytes[at + 4..].to_vec();
        Some(Self { status, head, body: String::from_utf8_lossy(&bytes).into_owned(), bytes })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// A header of the answer, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| *n == name).map(|(_, value)| value).next().unwrap_or("")
    }
}

pub(crate) fn request(method: &str, target: &str, token: &str, body: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUser-Agent: test/1\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Nothing where the connection ended without a whole head.
pub(crate) fn try_send(
    at: &str,
    method: &str,
    target: &str,
    token: &str,
    body: &str,
) -> Option<Answer> {
    let at: SocketAddr = at.trim_start_matches("http://").parse().expect("an address");
    let mut stream = TcpStream::connect(at).expect("a connection");
    stream.write_all(request(method, target, token, body).as_bytes()).expect("a request");
    Answer::read(&mut stream)
}

pub(crate) fn send(at: &str, method: &str, target: &str, token: &str, body: &str) -> Answer {
    try_send(at, method, target, token, body).expect("an answer")
}

pub(crate) fn get(server: &ConnectDev, target: &str) -> Answer {
    send(&server.url(), "GET", target, "all", "")
}

pub(crate) fn refused(answer: &Answer, status: u16, message: &str) {
    assert_eq!(
        (answer.status, answer.json()),
        (status, json!({"status": status, "message": message}))
    );
}
