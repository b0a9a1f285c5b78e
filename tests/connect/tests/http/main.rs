//! The server as clients meet it, over plain sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use connect_dev::{ConnectDev, StateSpec};
use serde_json::{Value, json};

mod changing;
mod reading;

pub(crate) const STATE: &str = r#"
tokens:
  - {token: all, vaults: ["*"]}
  - {token: some, vaults: [services]}
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
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

pub(crate) fn send(at: &str, method: &str, target: &str, token: &str, body: &str) -> Answer {
    let at: SocketAddr = at.trim_start_matches("http://").parse().expect("an address");
    let mut stream = TcpStream::connect(at).expect("a connection");
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUser-Agent: test/1\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
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
