use super::{Broken, SlotState};
use crate::api::{ConditionType, Conditions, ConnectServerStatus, Reason};
use crate::vaults::Health;

/// The status of a server; none while nobody knows.
pub(super) fn status(
    previous: &ConnectServerStatus,
    state: &SlotState,
    generation: i64,
) -> Option<ConnectServerStatus> {
    use ConditionType::{Reachable, Ready, TokenValid};
    let set =
        Conditions::replacing(&previous.conditions, Some(generation), crate::controller::now());
    let mut vault_count = previous.vault_count;
    let conditions = match state {
        SlotState::New => return None,
        SlotState::Broken(Broken { reason, message }) => {
            let token =
                matches!(reason, Reason::TokenNotFound | Reason::TokenNotForHost).then_some(false);
            set.set(Ready, Some(false), *reason, message)
                .set(Reachable, None, *reason, message)
                .set(TokenValid, token, *reason, message)
        }
        SlotState::Running(server) => {
            let view = server.view();
            match &view.health {
                Health::Starting => return None,
                Health::Good => {
                    vault_count = i32::try_from(view.snapshot.vaults().count()).ok();
                    let message =
                        format!("{} answers and accepts the token", server.client().active_host());
                    set.set(Ready, Some(true), Reason::Connected, &message)
                        .set(Reachable, Some(true), Reason::Connected, &message)
                        .set(TokenValid, Some(true), Reason::Connected, &message)
                }
                Health::Failing(trouble) => {
                    let (reason, message) = (trouble.error.reason(), trouble.error.to_string());
                    let refused = reason == Reason::TokenRejected || reason == Reason::AccessDenied;
                    set.set(Ready, Some(false), reason, &message)
                        .set(Reachable, Some(refused), reason, &message)
                        .set(TokenValid, refused.then_some(false), reason, &message)
                }
            }
        }
    };
    Some(ConnectServerStatus {
        observed_generation: Some(generation),
        conditions: conditions.finish(),
        vault_count,
    })
}
