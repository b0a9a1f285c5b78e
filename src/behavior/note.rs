//! Takes in what was decided. Only a grant makes anything familiar.

use std::time::Duration;

use chrono::{DurationRound as _, TimeDelta, Timelike as _};

use super::attempt::{AttemptedItem, Seen};
use super::decay::{self, ONE};
use super::{Attempt, NotedOutcome, bounds, consumers};
use crate::api::{
    AccessProfileSpec, DeniedHour, DeniedRequest, EnvironmentUse, ItemUse, Moment, RequestUse,
    VaultUse,
};

/// Over how many decisions the average of the risk runs.
const RISK_OVER: i64 = 50;
/// How long a highest risk stands.
const MAX_RISK_FOR: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long denials are counted by the hour: the last day, and the hour that has begun.
const DENIED_FOR: Duration = Duration::from_secs(25 * 3600);

pub(super) fn note(
    known: &mut AccessProfileSpec,
    attempt: &Attempt,
    outcome: NotedOutcome,
    seen: &Seen,
    at: Moment,
) {
    known.anomalies += i64::try_from(seen.anomalies.len()).unwrap_or(0);
    note_request(known, attempt, at);
    match outcome {
        NotedOutcome::Granted { risk } => {
            note_rhythm(known, at);
            known.grants += 1;
            let new = note_items(known, &attempt.items, at);
            if let Some(consumer) = &attempt.consumer {
                consumers::note(&mut known.consumers, consumer, new, at);
            }
            note_risk(known, risk, at);
        }
        NotedOutcome::Denied { risk } => {
            known.denials += 1;
            note_denial(known, attempt, at);
            note_risk(known, risk, at);
        }
        NotedOutcome::Deferred => known.deferrals += 1,
    }
}

/// The hours of the day and the time between grants. Grants of one hour count once for its hour of the day: a team
/// that moves in on one morning does not work only in that hour.
fn note_rhythm(known: &mut AccessProfileSpec, at: Moment) {
    let since = known.last_grant.map(|last| at.seconds_since(last));
    for hour in &mut known.hours {
        *hour = decay::decayed(*hour, since.unwrap_or(0), decay::HOURS_HALF_LIFE);
    }
    if known.last_grant.map(hour_of) != Some(hour_of(at))
        && let Some(hour) = known.hours.get_mut(at.time().hour() as usize)
    {
        *hour += ONE;
    }
    if let Some(seconds) = since {
        known.intervals = decay::with_interval(known.intervals, seconds);
    }
    known.last_grant = Some(known.last_grant.map_or(at, |last| last.max(at)));
}

/// Makes items, their vaults and environments familiar. Returns how many items are new to the namespace.
pub(super) fn note_items(
    known: &mut AccessProfileSpec,
    items: &[AttemptedItem],
    at: Moment,
) -> usize {
    let mut new = 0;
    let mut items: Vec<_> = items.iter().collect();
    items.sort_unstable();
    let mut last_vault = None;
    for item in items {
        let vault = vault_of(&mut known.vaults, item, at);
        if last_vault.replace(&item.vault_id) != Some(&item.vault_id) {
            vault.grants += 1;
        }
        let id = bounds::fit(&item.item_id, bounds::ID);
        match vault.items.binary_search_by(|known| known.id.cmp(&id)) {
            Ok(found) => {
                if let Some(item) = vault.items.get_mut(found) {
                    item.last = item.last.max(at);
                }
            }
            Err(place) => {
                new += 1;
                vault.items.insert(place, ItemUse { id, first: at, last: at });
            }
        }
        if let Some(name) = &item.environment {
            note_environment(&mut known.environments, name, at);
        }
    }
    bounds::keep_vaults(&mut known.vaults);
    new
}

fn vault_of<'a>(
    vaults: &'a mut Vec<VaultUse>,
    item: &AttemptedItem,
    at: Moment,
) -> &'a mut VaultUse {
    let id = bounds::fit(&item.vault_id, bounds::ID);
    let name = bounds::fit(&item.vault_name, bounds::ID);
    let place = vaults.binary_search_by(|known| known.id.cmp(&id)).unwrap_or_else(|place| {
        let (name, items) = (String::new(), Vec::new());
        vaults.insert(place, VaultUse { id, name, first: at, last: at, grants: 0, items });
        place
    });
    #[expect(clippy::indexing_slicing, reason = "it was found or inserted there")]
    let vault = &mut vaults[place];
    vault.name = name;
    vault.last = vault.last.max(at);
    vault
}

fn note_environment(environments: &mut Vec<EnvironmentUse>, name: &str, at: Moment) {
    let name = bounds::fit(name, bounds::ENVIRONMENT);
    match environments.iter_mut().find(|known| known.name == name) {
        Some(known) => known.last = known.last.max(at),
        None => {
            bounds::make_room(environments, bounds::ENVIRONMENTS, |known| known.last);
            environments.push(EnvironmentUse { name, first: at, last: at });
        }
    }
}

/// Whether the request was created anew, whatever it came to.
fn note_request(known: &mut AccessProfileSpec, attempt: &Attempt, at: Moment) {
    let name = bounds::fit(&attempt.request, bounds::NAME);
    let uid = bounds::fit(&attempt.uid, bounds::ID);
    if let Some(request) = known.requests.iter_mut().find(|request| request.name == name) {
        let since = at.seconds_since(request.at);
        request.churn = decay::decayed(request.churn, since, decay::CHURN_HALF_LIFE);
        if request.uid != uid {
            request.churn += ONE;
            request.uid = uid;
        }
        request.at = request.at.max(at);
        return;
    }
    bounds::make_room(&mut known.requests, bounds::REQUESTS, |request| {
        let since = at.seconds_since(request.at);
        (decay::decayed(request.churn, since, decay::CHURN_HALF_LIFE), request.at)
    });
    known.requests.push(RequestUse { name, uid, at, churn: 0 });
}

fn note_denial(known: &mut AccessProfileSpec, attempt: &Attempt, at: Moment) {
    let request = bounds::fit(&attempt.request, bounds::NAME);
    let mut items: Vec<String> =
        attempt.items.iter().map(|item| bounds::fit(&item.item_id, bounds::ID)).collect();
    items.sort_unstable();
    items.dedup();
    items.truncate(bounds::DENIED_ITEMS);
    known.denied.retain(|denied| denied.request != request);
    bounds::make_room(&mut known.denied, bounds::DENIED, |denied| denied.at);
    let (uid, spec) =
        (bounds::fit(&attempt.uid, bounds::ID), bounds::fit(&attempt.spec, bounds::ID));
    known.denied.push(DeniedRequest { request, uid, spec, at, items });

    let (hour, oldest) = (hour_of(at), at.minus(DENIED_FOR));
    known.denied_hours.retain(|denied| denied.hour > oldest);
    match known.denied_hours.iter_mut().find(|denied| denied.hour == hour) {
        Some(denied) => denied.count += 1,
        None => {
            bounds::make_room(&mut known.denied_hours, bounds::DENIED_HOURS, |denied| denied.hour);
            known.denied_hours.push(DeniedHour { hour, count: 1 });
        }
    }
}

fn note_risk(known: &mut AccessProfileSpec, risk: i32, at: Moment) {
    let over = (known.grants + known.denials).clamp(1, RISK_OVER);
    known.risk.average += (i64::from(risk) * 100 - known.risk.average) / over;
    let is_past = known.risk.max_at.is_none_or(|then| then < at.minus(MAX_RISK_FOR));
    if is_past || i64::from(risk) >= known.risk.max {
        known.risk.max = i64::from(risk);
        known.risk.max_at = Some(at);
    }
}

fn hour_of(at: Moment) -> Moment {
    at.time().duration_trunc(TimeDelta::hours(1)).map_or(at, Moment::from)
}
