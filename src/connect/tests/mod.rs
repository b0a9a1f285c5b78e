//! The client against a listener that gives canned answers.

mod answers;
mod breakers;
mod certificates;
mod failures;
mod files;
mod hosts;
mod offline;
mod replicas;
mod retries;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::api::Reason;

const VAULT: &str = "vaultaaaaaaaaaaaaaaaaaaaaa";
const ITEM: &str = "itemaaaaaaaaaaaaaaaaaaaaaa";
const OTHER: &str = "otheraaaaaaaaaaaaaaaaaaaaa";
const CANARY: &str = "canary-7f3a";
const TOKEN: &str = "token-7f3a.aa.bb";

#[derive(Clone)]
enum Reply {
    /// These bytes, and the end of the connection.
    Raw(String),
    /// These bytes, and then nothing more, with the connection open.
    Stall(&'static str),
    /// These bytes, and then a reset.
    Cut(&'static str),
    /// A reset.
    Reset,
}

/// What a server replies to a request, by its path and its number from 0.
type Script = Arc<dyn Fn(&str, usize) -> Reply + Send + Sync>;

/// A listener that gives canned replies.
struct Server {
    origin: String,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Gives every request the same reply.
    async fn start(reply: Reply) -> Self {
        Self::answering(move |_, _| reply.clone()).await
    }

    async fn answering(script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let script: Script = Arc::new(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (seen, count) = (Arc::clone(&heads), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let head = String::from_utf8(head).unwrap();
                    let path = path_of(&head);
                    let number = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(head);
                        seen.len() - 1
                    };
                    match script(&path, number) {
                        Reply::Raw(text) => {
                            let _ = stream.write_all(text.as_bytes()).await;
                        }
                        Reply::Stall(text) => {
                            let _ = stream.write_all(text.as_bytes()).await;
                            std::future::pending::<()>().await;
                        }
                        Reply::Cut(text) => {
                            let _ = stream.write_all(text.as_bytes()).await;
                            stream.set_zero_linger().unwrap();
                        }
                        Reply::Reset => stream.set_zero_linger().unwrap(),
                    }
                });
            }
        });
        Self { origin, heads, connections }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// The paths that were asked for, in the order in which they came.
    fn paths(&self) -> Vec<String> {
        self.heads().iter().map(|head| path_of(head)).collect()
    }
}

fn path_of(head: &str) -> String {
    head.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// An origin where nothing listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Waits for something to hold, and fails after seconds.
async fn until(holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), look).await.expect("it never held");
}

fn http(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Raw(format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    ))
}

fn json(status: &str, body: &str) -> Reply {
    http(status, "content-type: application/json\r\n", body)
}

fn html(status: &str) -> Reply {
    let body = format!("<html>{CANARY}</html>");
    http(status, "content-type: text/html; charset=utf-8\r\n", &body)
}

fn error_body(status: u16) -> String {
    format!(r#"{{"status":{status},"message":"{CANARY}"}}"#)
}

fn config(host: &str) -> ClientConfig {
    ClientConfig {
        hosts: vec![host.to_owned()],
        token: TOKEN.into(),
        ca_pem: None,
        proxy: Proxy::None,
        observer: Arc::new(NoObserver),
        connect_timeout: Duration::from_millis(500),
        call_timeout: Duration::from_secs(5),
        retries: Retries { rounds: 0, first: Duration::ZERO, max: Duration::ZERO },
        cool_down: CoolDown { first: Duration::from_secs(60), max: Duration::from_secs(60) },
        item_body_limit: 4096,
        file_body_limit: 4096,
        list_limits: ListLimits { body: 8192, entry: 4096, entries: 10 },
        concurrency: 2,
        requests_per_second: None,
    }
}

/// A configuration for servers, in this order.
fn config_of<'a>(servers: impl IntoIterator<Item = &'a Server>) -> ClientConfig {
    let hosts = servers.into_iter().map(|server| server.origin.clone()).collect();
    ClientConfig { hosts, ..config("") }
}

fn client(config: ClientConfig) -> Client {
    // The second installation of a test run fails, and may.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new(config).unwrap()
}

fn identity(title: &str) -> ItemIdentity {
    ItemIdentity {
        vault_id: VAULT.into(),
        item_id: ITEM.into(),
        vault_name: "services".into(),
        title: title.into(),
    }
}

fn item_body(id: &str, vault: &str, title: &str, state: &str) -> String {
    format!(
        r#"{{"id":"{id}","title":"{title}","vault":{{"id":"{vault}"}},"category":"NOVEL","version":3,{state}
        "urls":[{{"label":"site","primary":true,"href":"https://{CANARY}"}}],
        "files":[{{"id":"file1","name":"ca.pem","size":7,"content_path":"/elsewhere","section":{{"id":"s1"}}}},{{"id":"file2"}}],"sections":[{{"id":"s1","label":"Admin"}},{{"id":"add more"}}],
        "fields":[
          {{"id":"username","type":"STRING","purpose":"USERNAME","label":"username","value":"{CANARY}-user"}},
          {{"id":"pw","type":"CONCEALED","label":"password","value":"{CANARY}\u00e9\n","section":{{"id":"s1"}},
            "passwordDetails":{{"history":["{CANARY}-old"]}}}},
          {{"id":"code","type":"OTP","label":"code","value":"otpauth://{CANARY}","totp":"123456"}},
          {{"id":"notesPlain","type":"NOVEL","purpose":"NOTES"}}]}}"#
    )
}

async fn vaults_error(reply: Reply) -> ConnectError {
    let server = Server::start(reply).await;
    client(config(&server.origin)).vaults().await.unwrap_err()
}

async fn item_error(reply: Reply) -> ConnectError {
    let server = Server::start(reply).await;
    let client = client(config(&server.origin));
    client.fetch_item(&identity("orders")).await.unwrap_err()
}

/// Neither the token nor anything of an answer is in an error; what was asked for is.
fn assert_silent(error: &ConnectError) {
    for text in [format!("{error}"), format!("{error:?}"), format!("{error:#?}")] {
        assert!(!text.contains(CANARY) && !text.contains(TOKEN), "{text}");
        assert!(text.contains("http"), "{text}");
    }
}
