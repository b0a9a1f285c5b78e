use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_denials_lose_neither_a_grant_nor_their_number() {
    let gate = Gate::default();
    let audit = start(gate.clone(), OnFailure::Block, LIMITS);
    let mut denials = tokio::task::JoinSet::new();
    for n in 0..10_000 {
        let audit = audit.clone();
        denials.spawn(async move {
            let (request, decision) = (request(&format!("r{n}")), decision(Outcome::Denied));
            let entry = Entry::decision(&request, None, &decision);
            audit.record_denial(&entry, &decision.digest).await.unwrap()
        });
    }
    let (granted, decision) = (request("granted"), decision(Outcome::Allowed));
    let secret =
        SecretLine { name: "granted", uid: None, change: "write", source: None, token: None };
    let grant = async {
        let decided = audit.record(&Entry::decision(&granted, None, &decision)).await;
        let intent = Entry::decision(&granted, None, &decision).about(Kind::Intent, secret);
        let intent = audit.record(&intent).await.unwrap().unwrap();
        let written = Entry::decision(&granted, None, &decision)
            .about(Kind::Write, secret)
            .closing(Some(&intent));
        (decided.unwrap().unwrap(), intent.clone(), audit.record(&written).await.unwrap().unwrap())
    };
    // Half of it while the sink hangs, the rest while it is at work.
    let opened = async {
        while audit.queue.lengths().1 < LIMITS.denial_room {
            tokio::task::yield_now().await;
        }
        gate.set(true, false);
    };
    let ((decided, intent, written), ()) = tokio::join!(grant, opened);
    let ids: Vec<_> = denials.join_all().await.into_iter().flatten().collect();
    audit.close().await;

    let lines = gate.lines();
    let of = |id: &str| {
        let line = lines.iter().find(|line| {
            format!("{}-{}", line["stream"].as_str().unwrap(), line["sequence"]) == id
        });
        line.unwrap_or_else(|| panic!("{id} was not written"))
    };
    for (id, kind) in [(&decided, "decision"), (&intent, "intent"), (&written, "write")] {
        assert_eq!(
            (&of(id)["kind"], &of(id)["request"]["name"]),
            (&kind.into(), &"granted".into())
        );
    }
    assert_eq!(of(&written)["closes"], intent);
    let one_by_one = lines.iter().filter(|l| l["decision"]["outcome"] == "Denied").count();
    assert_eq!(one_by_one, ids.len());
    let merged: u64 = lines.iter().filter_map(|line| line["merged"]["count"].as_u64()).sum();
    assert!(merged > 0, "the room was never full");
    assert_eq!(one_by_one as u64 + merged, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_wait_together_are_written_in_one_flush() {
    let gate = Gate::default();
    let audit = start(gate.clone(), OnFailure::Block, LIMITS);
    let record = async |name: &str| {
        let (request, decision) = (request(name), decision(Outcome::Allowed));
        audit.record(&Entry::decision(&request, None, &decision)).await.unwrap().unwrap()
    };
    let others = async {
        // The first one is with the sink, which hangs.
        while gate.brought() < 1 {
            tokio::task::yield_now().await;
        }
        let opened = async {
            while audit.queue.lengths().0 < 4 {
                tokio::task::yield_now().await;
            }
            gate.set(true, false);
        };
        tokio::join!(record("b"), record("c"), record("d"), record("e"), opened)
    };
    tokio::join!(record("a"), others);
    assert_eq!(gate.lines().len(), 5);
    assert!(gate.appends() <= 2, "{} flushes", gate.appends());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_blocks_or_alerts_as_it_was_told() {
    for on_failure in [OnFailure::Block, OnFailure::Alert] {
        let gate = Gate::default();
        gate.set(true, true);
        let limits = AuditLimits { wait: Duration::from_millis(100), ..LIMITS };
        let audit = start(gate.clone(), on_failure, limits);
        let (request, decision) = (request("r"), decision(Outcome::Allowed));
        let entry = || Entry::decision(&request, None, &decision);
        // The first is with the sink already; the second never gets that far.
        for _ in 0..2 {
            let expected = match on_failure {
                OnFailure::Block => Err(AuditError::Unwritable(io::ErrorKind::StorageFull)),
                OnFailure::Alert => Ok(None),
            };
            assert_eq!(audit.record(&entry()).await, expected);
        }
        let text = audit.metrics.encode();
        assert!(text.contains("portcullis_audit_failures_total{step=\"wait\"} 2"), "{text}");
        let unrecorded = if on_failure == OnFailure::Alert { 2 } else { 0 };
        assert!(
            text.contains(&format!("portcullis_audit_unrecorded_total {unrecorded}")),
            "{text}"
        );

        gate.set(true, false);
        let id = loop {
            if let Ok(Some(id)) = audit.record(&entry()).await {
                break id;
            }
        };
        audit.close().await;
        let lines = gate.lines();
        let last = lines.last().unwrap();
        assert_eq!(id, format!("{}-{}", last["stream"].as_str().unwrap(), last["sequence"]));
        let numbers: Vec<u64> = lines.iter().map(|l| l["sequence"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=lines.len() as u64).collect::<Vec<_>>(), "no number is left out");
        let lost: Vec<u64> = lines.iter().filter_map(|l| l["lost"]["count"].as_u64()).collect();
        assert_eq!(lost, if on_failure == OnFailure::Alert { vec![1] } else { vec![] });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_is_written_too_late_is_closed_as_one_that_nothing_came_of() {
    let gate = Gate::default();
    let limits = AuditLimits { wait: Duration::from_millis(50), ..LIMITS };
    let audit = start(gate.clone(), OnFailure::Block, limits);
    let (request, decision) = (request("r"), decision(Outcome::Allowed));
    let secret = SecretLine { name: "r", uid: None, change: "write", source: None, token: None };
    let intent = Entry::decision(&request, None, &decision).about(Kind::Intent, secret);
    assert_eq!(audit.record(&intent).await, Err(AuditError::Slow(limits.wait)));
    gate.set(true, false);
    while gate.lines().len() < 2 {
        tokio::task::yield_now().await;
    }
    let lines = gate.lines();
    assert_eq!((&lines[0]["kind"], &lines[1]["kind"]), (&"intent".into(), &"failed".into()));
    assert_eq!(lines[1]["closes"], format!("{}-1", lines[0]["stream"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_is_written_too_late_is_not_closed_where_work_goes_on_without_records() {
    let gate = Gate::default();
    let limits = AuditLimits { wait: Duration::from_millis(50), ..LIMITS };
    let audit = start(gate.clone(), OnFailure::Alert, limits);
    let (request, decision) = (request("r"), decision(Outcome::Allowed));
    let secret = SecretLine { name: "r", uid: None, change: "write", source: None, token: None };
    let intent = Entry::decision(&request, None, &decision).about(Kind::Intent, secret);
    assert_eq!(audit.record(&intent).await, Ok(None));
    gate.set(true, false);
    while gate.lines().len() < 2 {
        tokio::task::yield_now().await;
    }
    audit.close().await;
    let lines = gate.lines();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["intent", "lost"], "the Secret may have been written");
    assert_eq!(lines[1]["lost"]["count"], 1);
}
