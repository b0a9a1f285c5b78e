//! Records as OpenTelemetry logs, to a collector that decodes what it gets.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use portcullis::api::Reason;
use portcullis::audit::OtlpSink;
use portcullis_test_support::{Bed, OperatorOptions};
use prost::Message as _;
use tokio::net::TcpListener;

use super::{Folder, verified};

/// How a collector answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Takes,
    IsBusy,
    RejectsAPart,
}

#[derive(Clone)]
struct Collector(Arc<Mutex<(Mood, Vec<String>)>>);

async fn take(State(collector): State<Collector>, body: Bytes) -> (StatusCode, Vec<u8>) {
    let request = ExportLogsServiceRequest::decode(body).unwrap();
    let mut state = collector.0.lock().unwrap();
    let mut answer = ExportLogsServiceResponse::default();
    match state.0 {
        Mood::IsBusy => return (StatusCode::SERVICE_UNAVAILABLE, Vec::new()),
        Mood::RejectsAPart => {
            answer.partial_success = Some(ExportLogsPartialSuccess {
                rejected_log_records: 1,
                error_message: String::new(),
            });
        }
        Mood::Takes => {
            for resource in request.resource_logs {
                assert_eq!(resource.resource.unwrap().attributes[0].key, "service.name");
                for log in resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                    assert!(log.time_unix_nano > 0 && log.event_name == "portcullis.audit");
                    let Some(Value::StringValue(line)) = log.body.unwrap().value else {
                        panic!("the body is no text")
                    };
                    state.1.push(line);
                }
            }
        }
    }
    (StatusCode::OK, answer.encode_to_vec())
}

impl Collector {
    async fn start(mood: Mood) -> (Self, String) {
        let collector = Self(Arc::new(Mutex::new((mood, Vec::new()))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/logs", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/logs", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, url)
    }

    fn set(&self, mood: Mood) {
        self.0.lock().unwrap().0 = mood;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_each_record_as_it_stands_and_what_it_does_not_take_is_not_granted() {
    let (bed, folder) = (Bed::new("audit-otlp").await, Folder::new());
    let (collector, url) = Collector::start(Mood::IsBusy).await;
    let sink = OtlpSink::new(&url, tokio::runtime::Handle::current()).unwrap();
    let options = OperatorOptions { audit: Some(Box::new(sink)), ..OperatorOptions::default() };
    let operator = bed.operator_of(options).await;
    bed.request("orders", |_| {}).await;
    bed.wait_reason("orders", Reason::AuditFailed).await;
    collector.set(Mood::RejectsAPart);
    let failures = || operator.metric("portcullis_audit_failures_total", &[("step", "write")]);
    let before = failures();
    portcullis_test_support::wait::until(
        "a partial answer",
        portcullis_test_support::wait::WAIT,
        async || {
            if failures() >= before + 3.0 { Ok(()) } else { Err(format!("{}", failures())) }
        },
    )
    .await;
    assert!(bed.secret("orders").await.is_none());
    collector.set(Mood::Takes);
    bed.wait_ready("orders").await;
    operator.stop().await;
    let lines = collector.0.lock().unwrap().1.clone();
    assert!(lines.iter().any(|line| line.contains("\"kind\":\"write\"")), "{lines:?}");
    let file = folder.write("exported.log", lines.join("\n") + "\n");
    let (code, said) = verified(&bed, &[&file]).await;
    assert_eq!(code, 0, "{said}");
}
