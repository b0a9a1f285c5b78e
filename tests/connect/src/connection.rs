//! One connection of a client: TLS where the server has it, then HTTP/1.1 until either side ends it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::api;
use crate::shared::Core;

/// Serves a connection to its end. One that breaks is no concern of the server's.
pub(crate) async fn serve(
    stream: TcpStream,
    from: IpAddr,
    tls: Option<TlsAcceptor>,
    core: Arc<Core>,
) {
    // Small answers must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    match tls {
        None => http(stream, from, core).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                http(stream, from, core).await;
            }
        }
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin, from: IpAddr, core: Arc<Core>) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        api::handle(core.clone(), request.map(Body::new), from)
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
