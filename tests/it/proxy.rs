//! A wire between an operator and the API server that can be held in either direction. TLS goes through it as it is.

use std::net::SocketAddr;

use portcullis_test_support::Bed;
use portcullis_test_support::kube::Client;
use portcullis_test_support::serde_json::{self, Value};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    address: SocketAddr,
    up: watch::Sender<bool>,
    down: watch::Sender<bool>,
}

impl Proxy {
    /// A wire to a bed's API server.
    pub(crate) async fn start(bed: &Bed) -> Self {
        let url = bed.cluster.config().cluster_url;
        let server = format!("{}:{}", url.host().unwrap(), url.port_u16().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (up, up_held) = watch::channel(false);
        let (down, down_held) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(carry(from_client, to_server, up_held.clone()));
                tokio::spawn(carry(from_server, to_client, down_held.clone()));
            }
        });
        Self { address, up, down }
    }

    /// Holds what the operator says.
    pub(crate) fn hold_requests(&self) {
        self.up.send_replace(true);
    }

    /// Holds what the API server says.
    pub(crate) fn hold_answers(&self) {
        self.down.send_replace(true);
    }

    /// A client of the bed's operator by way of this wire.
    pub(crate) async fn client(&self, bed: &Bed) -> Client {
        let mut config = bed.service_account_config().await;
        config.cluster_url = format!("https://{}", self.address).parse().unwrap();
        Client::try_from(config).unwrap()
    }

    /// The kubeconfig of the bed's operator by way of this wire.
    pub(crate) async fn kubeconfig(&self, bed: &Bed) -> String {
        let text = bed.service_account_kubeconfig().await;
        let mut kubeconfig: Value = serde_json::from_str(&text).unwrap();
        for cluster in kubeconfig["clusters"].as_array_mut().unwrap() {
            cluster["cluster"]["server"] = format!("https://{}", self.address).into();
        }
        kubeconfig.to_string()
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut held: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        if held.wait_for(|held| !held).await.is_err() || to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
