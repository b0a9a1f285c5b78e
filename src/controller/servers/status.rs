use super::persist::Kept;
use super::{Broken, KnownServer, SlotState};
use crate::api::{
    ConditionType, Conditions, ConnectServerStatus, DependencyStatus, Persistence, Reason,
    VAULT_LIMIT, VaultStatus,
};
use crate::connect::{Access, ServerHealth};
use crate::controller::policies::whole_seconds;
use crate::vaults::{Health, Server, View};

/// A token that ends before this is told of.
const EXPIRES_SOON: chrono::TimeDelta = chrono::TimeDelta::days(14);

/// The status of a server; none while nobody knows. `lasting` is whether the keys of the cache outlive the
/// process, or why not.
pub(super) fn status(
    known: &KnownServer,
    state: &SlotState,
    lasting: &Result<(), String>,
) -> Option<ConnectServerStatus> {
    let set = Conditions::replacing(
        &known.status.conditions,
        Some(known.generation),
        crate::controller::now(),
    );
    let mut status = ConnectServerStatus {
        observed_generation: Some(known.generation),
        last_handled_refresh_request: known.refreshed.clone(),
        cache_epochs: match &known.kept {
            Some((_, epochs)) => epochs.clone(),
            None => known.status.cache_epochs.clone(),
        },
        ..known.status.clone()
    };
    let set = match state {
        SlotState::New => return None,
        SlotState::Broken(broken) => of_broken(set, broken),
        SlotState::Running(server) => {
            let view = server.view();
            if view.health == Health::Starting {
                return None;
            }
            describe(&mut status, known, server, &view);
            of_health(set, server, &view)
        }
    };
    let set = match known.spec.persistence() {
        Persistence::None => set,
        Persistence::Secret => of_cache(set, known, lasting),
    };
    Some(ConnectServerStatus { conditions: set.finish(), ..status })
}

/// What is known of the server besides conditions.
fn describe(status: &mut ConnectServerStatus, known: &KnownServer, server: &Server, view: &View) {
    status.active_host = Some(server.client().active_host().to_owned());
    if let Some(connect) = &view.connect {
        status.version = Some(connect.version.clone()).filter(|v| !v.is_empty());
        status.dependencies = connect
            .dependencies
            .iter()
            .map(|d| DependencyStatus { service: d.service.clone(), status: d.status.clone() })
            .collect();
        status.dependencies.sort();
        status.dependencies.dedup_by(|a, b| a.service == b.service);
    }
    if view.health == Health::Good {
        status.vault_count = i32::try_from(view.snapshot.vaults().count()).ok();
        status.vaults = view
            .snapshot
            .vaults()
            .take(VAULT_LIMIT)
            .map(|vault| VaultStatus {
                id: vault.id.to_string(),
                name: vault.name.chars().take(256).collect(),
                class: known.spec.vault_class(&vault.name).to_owned(),
            })
            .collect();
    }
    status.token_expires_at =
        server.client().claims().expires_at.map(|at| whole_seconds(at.into()));
}

/// What the token says of itself, as far as somebody should know.
fn of_token(server: &Server) -> Option<(Reason, String)> {
    let claims = server.client().claims();
    let ends_soon = claims.expires_at.is_some_and(|at| at - chrono::Utc::now() < EXPIRES_SOON);
    let may_write = claims.access == Access::ReadWrite;
    let also = if may_write { "; it may also write, and reading is enough" } else { "" };
    match (claims.expires_at, claims.access) {
        (Some(at), _) if ends_soon => Some((
            Reason::TokenExpiresSoon,
            format!("Connect accepts the token, which ends on {}; make a new one{also}", at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        )),
        (_, Access::ReadWrite) => Some((
            Reason::TokenCanWrite,
            "Connect accepts the token, which may write; Portcullis only reads: give it a token that can do no more"
                .to_owned(),
        )),
        (_, Access::ReadOnly | Access::Unknown) => None,
    }
}

fn of_broken(set: Conditions, Broken { reason, message }: &Broken) -> Conditions {
    use ConditionType::{Reachable, Ready, TokenValid};
    let of_token = matches!(reason, Reason::TokenNotFound | Reason::TokenNotForHost);
    set.set(Ready, Some(false), *reason, message).set(Reachable, None, *reason, message).set(
        TokenValid,
        of_token.then_some(false),
        *reason,
        message,
    )
}

fn of_health(set: Conditions, server: &Server, view: &View) -> Conditions {
    use ConditionType::{Reachable, Ready, TokenValid};
    let connected = format!("{} answers and accepts the token", server.client().active_host());
    match (&view.health, view.connect.as_deref().and_then(ailing)) {
        (Health::Failing(trouble), _) => {
            let (reason, message) = (trouble.error.reason(), trouble.error.to_string());
            let refused = reason == Reason::TokenRejected || reason == Reason::AccessDenied;
            set.set(Ready, Some(false), reason, &message)
                .set(Reachable, Some(refused), reason, &message)
                .set(TokenValid, refused.then_some(false), reason, &message)
        }
        (Health::Starting | Health::Good, ailing) => {
            let well = ailing.is_none();
            let (reason, message) = match ailing {
                Some(ailing) => (Reason::ConnectNotSynced, ailing),
                None => (Reason::Connected, connected.clone()),
            };
            let (token, said) = of_token(server).unwrap_or((Reason::Connected, connected));
            set.set(Ready, Some(well), reason, &message)
                .set(Reachable, Some(true), reason, &message)
                .set(TokenValid, Some(true), token, &said)
        }
    }
}

/// What Connect says is wrong with itself, if anything is.
fn ailing(connect: &ServerHealth) -> Option<String> {
    connect.obstacle()?;
    let dependencies = connect.dependencies.iter().map(|d| format!("{} {}", d.service, d.status));
    let all: Vec<String> = dependencies.collect();
    Some(format!(
        "Connect answers, but does not follow the account ({}): check its credentials file and its way to \
         1password.com",
        all.join(", ")
    ))
}

fn of_cache(set: Conditions, known: &KnownServer, lasting: &Result<(), String>) -> Conditions {
    use ConditionType::CachePersisted;
    match (lasting, &known.kept) {
        (Err(why), _) => set.set(
            CachePersisted,
            Some(false),
            Reason::CacheKeyMissing,
            &format!("the cache does not survive a restart: {why}"),
        ),
        (Ok(()), Some((Kept::Failed(why), _))) => set.set(
            CachePersisted,
            Some(false),
            Reason::CacheNotWritten,
            &format!("not all of the cache survives a restart: {why}"),
        ),
        (Ok(()), Some((Kept::Written, _))) => set.set(
            CachePersisted,
            Some(true),
            Reason::CachePersisted,
            "the cache survives a restart",
        ),
        (Ok(()), None) => set,
    }
}
