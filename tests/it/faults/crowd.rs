//! Many requests of two servers with two tokens, while values rotate, requests come and go, and everything fails now
//! and then: no value ever gets into another request's Secret, and in the end each has its own.

mod side;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use portcullis_test_support::{Bed, SecretHistory, wait};
use serde_json::json;

use super::{Says, says};
use side::{ITEMS, Side, Trouble, stem, value};

const REQUESTS: usize = 64;
const MINUTE: Duration = Duration::from_secs(60);

/// Whose values a Secret may hold: those of a side, and of its items the one of the key `a` and of the key `b`.
type Owned = (&'static str, [usize; 2]);
type Owners = BTreeMap<String, Owned>;

fn name_of(request: usize) -> String {
    format!("request-{request}")
}

/// Requests two items of a side.
async fn ask(bed: &Bed, side: &Side, name: String, items: [usize; 2]) -> (String, Owned) {
    let reference = |i: usize| format!("op://{}/item-{i}/password", side.vault);
    let data =
        json!([{"key": "a", "ref": reference(items[0])}, {"key": "b", "ref": reference(items[1])}]);
    let spec = json!({"serverRef": {"name": side.server}, "purpose": "a test", "data": data});
    bed.apply_request(json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
    (name, (side.name, items))
}

/// Nothing but values of these items was ever in a Secret; how many versions there were.
fn check(bed: &Bed, history: &SecretHistory, owners: &Owners) -> usize {
    let mut versions = 0;
    for (name, (side, items)) in owners {
        for seen in history.of(name) {
            let data = seen.secret().data.clone().unwrap_or_default();
            assert_eq!(data.len(), 2, "{name}");
            for (key, item) in ["a", "b"].into_iter().zip(items) {
                let held = String::from_utf8(data[key].0.clone()).unwrap();
                let rest = held.strip_prefix(&stem(bed, side, *item));
                assert!(
                    rest.is_some_and(|r| r.parse::<usize>().is_ok()),
                    "{name} held another's value"
                );
            }
            versions += 1;
        }
    }
    versions
}

/// Waits until what the observer saw last of each Secret is what there is.
async fn wait_observed(bed: &Bed, history: &SecretHistory, owners: &Owners) {
    let last = async || {
        for name in owners.keys() {
            let now = bed.secret(name).await.and_then(|s| s.metadata.resource_version);
            let seen =
                history.of(name).pop().and_then(|s| s.secret().metadata.resource_version.clone());
            if now.is_some() && now != seen {
                return Err(format!("{name}: {seen:?} of {now:?}"));
            }
        }
        Ok(())
    };
    wait::until("the observer to have seen everything", wait::WAIT, last).await;
}

/// A round on one side: its values are the round's, something is wrong with it, and in the end somebody has the
/// round's value all the same. The requests that were made.
async fn round(
    bed: &Bed,
    side: &mut Side,
    round: usize,
    trouble: Trouble,
    owners: &Owners,
) -> Vec<(String, Owned)> {
    side.begin(trouble);
    side.rotate(bed, round);
    if trouble == Trouble::Lags {
        side.lag().await;
    }
    // Somebody's Secret is deleted meanwhile, and a request comes for a while.
    let offset = usize::from(side.name == "right");
    let (witness, lost) = (round * 5 % (REQUESTS / 2), (round * 7 + 3) % (REQUESTS / 2));
    let (witness, lost) = (name_of(witness * 2 + offset), name_of(lost * 2 + offset));
    if bed.secret(&lost).await.is_some() {
        bed.delete_secret(&lost).await;
    }
    let passing = format!("passing-{}-{round}", side.name);
    let items = [round % ITEMS, (round + 3) % ITEMS];
    let mut made = vec![ask(bed, side, passing.clone(), items).await];
    let item = owners[&witness].1[0];
    bed.wait_value(&witness, "a", &value(bed, side.name, item, round)).await;
    side.end(trouble);
    if trouble == Trouble::Gone {
        side.go(bed).await;
        // What somebody has just got is kept in the version that the last list has.
        let late = format!("late-{}-{round}", side.name);
        made.push(ask(bed, side, late.clone(), [item, item]).await);
        says(bed, &late, Says::CACHED).await;
        side.come_back();
    }
    bed.delete_request(&passing).await;
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_minute_of_faults_no_value_ever_gets_into_another_requests_secret() {
    let bed = Bed::new("fx-crowd").await;
    let mut left = Side::new(&bed, "left", "services").await;
    let mut right = Side::new(&bed, "right", "infra").await;
    assert_eq!(left.connect.vault_id("infra"), right.connect.vault_id("infra"));
    assert_eq!(
        left.connect.item_id("infra", "item-0"),
        right.connect.item_id("infra", "item-0"),
        "the same ids, so that a mix-up would go unnoticed but for the value"
    );
    let history = bed.observe_secrets().await;
    let operator = bed.operator().await;
    let mut owners = Owners::new();
    // Things go wrong from the first request on.
    left.begin(Trouble::WrongItem);
    right.begin(Trouble::Errors);
    for request in 0..REQUESTS {
        let side = if request % 2 == 0 { &left } else { &right };
        let items = [request / 2 % ITEMS, (request / 2 * 3 + 1) % ITEMS];
        owners.extend([ask(&bed, side, name_of(request), items).await]);
    }
    left.end(Trouble::WrongItem);
    right.end(Trouble::Errors);
    let (began, mut rounds, troubles) = (Instant::now(), 0, Trouble::ALL);
    while began.elapsed() < MINUTE || rounds < 2 * troubles.len() {
        rounds += 1;
        // Each side has troubles of its own at a time.
        let (one, other) = (rounds % troubles.len(), (rounds + 7) % troubles.len());
        let (lefts, rights) = tokio::join!(
            round(&bed, &mut left, rounds, troubles[one], &owners),
            round(&bed, &mut right, rounds, troubles[other], &owners),
        );
        owners.extend(lefts.into_iter().chain(rights));
        check(&bed, &history, &owners);
    }
    for name in owners.keys().filter(|name| !name.starts_with("passing-")) {
        let (side, items) = owners[name];
        for (key, item) in ["a", "b"].into_iter().zip(items) {
            bed.wait_value(name, key, &value(&bed, side, item, rounds)).await;
        }
        says(&bed, name, Says::SYNCED).await;
    }
    wait_observed(&bed, &history, &owners).await;
    let versions = check(&bed, &history, &owners);
    assert!(versions > rounds * REQUESTS / 2, "{versions} versions: nothing rotated under load");
    for side in [&left, &right] {
        let missing: Vec<_> = troubles.iter().filter(|t| !side.suffered.contains(t)).collect();
        assert!(missing.is_empty(), "{} was spared {missing:?} in {rounds} rounds", side.name);
        let late = owners.keys().filter(|n| n.starts_with(&format!("late-{}-", side.name)));
        for name in late {
            let first = &operator.audit.of("write", name)[0];
            assert_eq!(first["secret"]["source"], "Cache", "{name}");
        }
    }
    operator.stop().await;
}
