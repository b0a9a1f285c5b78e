//! A socket with a thread and a runtime of its own: when the runtime goes, every connection is closed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::connection;
use crate::shared::Core;
use crate::tls::Authority;

/// How long accepting rests after it failed, as it does where no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until it is dropped.
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Serves Connect's API; over TLS where there is an authority.
    pub(crate) fn api(
        address: SocketAddr,
        core: Arc<Core>,
        authority: Option<&Authority>,
    ) -> io::Result<Self> {
        let tls = authority.map(Authority::acceptor);
        Self::start(address, |listener| async move {
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        let serve = connection::serve(stream, peer.ip(), tls.clone(), core.clone());
                        tokio::spawn(serve);
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        })
    }

    /// Serves the admin API.
    pub(crate) fn admin(address: SocketAddr, router: Router) -> io::Result<Self> {
        Self::start(address, |listener| async move {
            let _ = axum::serve(listener, router).await;
        })
    }

    fn start<F: Future<Output = ()> + Send + 'static>(
        address: SocketAddr,
        serve: impl FnOnce(TcpListener) -> F,
    ) -> io::Result<Self> {
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(socket)?
        };
        let serving = serve(listener);
        let (stop, stopped) = oneshot::channel();
        let thread =
            std::thread::Builder::new().name("connect-dev".to_owned()).spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        _ = stopped => {}
                        () = serving => {}
                    }
                });
            })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
